"""Heads whose free numbers the meta set chooses from a grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from longtail.config.presets.preset import HeadSettings
from longtail.networks.adjusted import AdjustedClassifier
from longtail.networks.heads import WithHead
from longtail.training.choices import STEPS, Choice, Grid, best_of, combinations
from longtail.training.method import Batch, Method, StepInfo, Task

if TYPE_CHECKING:
    from longtail.training.image_sets import ImageSet


def features_of(model: WithHead, images: ImageSet) -> Tensor:
    """Features [N, F] of all images in evaluation mode, the input of the head; the mode is restored."""
    was_training = model.training
    model.eval()
    features = torch.cat([model.features(part) for part in images.batches()])
    model.train(was_training)
    return images.ranks.whole(features, len(images.labels))


def choose(grid: Grid, logits: Iterable[Tensor], labels: Tensor) -> Choice:
    """The best combination for `labels` [N], from the logits [N, C] of each in `combinations` order."""
    right = [(own.argmax(dim=1) == labels).sum() for own in logits]
    return best_of(grid, torch.stack(right).tolist(), labels.numel())


class ChoosingHead(Method):
    """A method that chooses numbers of its head on the meta set, and says which."""

    grid: Grid

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.chosen: Choice | None = None

    def choice(self) -> Choice | None:
        """What was chosen last."""
        return self.chosen

    def state(self) -> dict[str, Any]:
        """The choice."""
        return {"choice": None if self.chosen is None else self.chosen.model_dump()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        found = state["choice"]
        self.chosen = None if found is None else Choice.model_validate(found)


class PostHocHead(ChoosingHead):
    """A choice on the meta set in place of a training: one iteration, which moves no parameter."""

    settings_model: ClassVar[type[HeadSettings]]
    numbers: ClassVar[tuple[str, ...]]
    """Settings, and buffers of its `AdjustedClassifier`: a number, or None for the best of `STEPS`."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = self.settings_model.model_validate(settings)
        fixed = {name: getattr(self.settings, name) for name in self.numbers}
        self.grid = {name: STEPS if value is None else (value,) for name, value in fixed.items()}

    @property
    def first(self) -> dict[str, float]:
        """The numbers until they are chosen: 0, or what the settings say."""
        return combinations(self.grid)[0]

    def measure(self, head: AdjustedClassifier, features: Tensor, labels: Tensor) -> None:
        """Called before the choice, with the features [N, F] of the meta set and their labels [N]."""

    @torch.no_grad()
    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Choose the numbers on the meta set."""
        assert isinstance(model, WithHead)
        head = model.head
        assert isinstance(head, AdjustedClassifier)
        features = features_of(model, meta)
        self.measure(head, features, meta.labels)
        candidates = [
            {name: head.weight.new_tensor(value) for name, value in numbers.items()}
            for numbers in combinations(self.grid)
        ]
        logits = (head.adjusted(features, numbers) for numbers in candidates)
        self.chosen = choose(self.grid, logits, meta.labels)
        for name, value in self.chosen.chosen.items():
            head.get_buffer(name).fill_(value)

    @torch.no_grad()
    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The loss, for the history; no gradient."""
        return {"train_loss": self.batch_loss(batch.whole(model(batch.images)), batch.labels, info)}
