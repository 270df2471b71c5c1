"""The interface of a method: losses, weights and samplers. The training loop is not its concern."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.training.optimisers import SGD
from longtail.training.ranks import ALONE, Ranks
from longtail.training.samplers import Sampler, build_sampler

if TYPE_CHECKING:
    from longtail.training.choices import Choice
    from longtail.training.image_sets import ImageSet


@dataclass(frozen=True)
class Task:
    """What a method knows about the problem."""

    counts: Tensor
    """Training images per class, int64 [C]."""
    seed: int
    imbalance: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def classes(self) -> int:
        """C."""
        return self.counts.numel()


@dataclass(frozen=True)
class Batch:
    """One mini-batch: images [B, channels, H, W], labels int64 [B].

    With several ranks, `images` are this rank's part of the batch, and `labels` those of the whole batch.
    """

    images: Tensor
    labels: Tensor
    second_view: Tensor | None = None
    """The same images under another augmentation, for methods with `uses_second_view`."""
    ranks: Ranks = ALONE

    def whole(self, rows: Tensor) -> Tensor:
        """The rows [B, ...] of the whole batch, such as logits, from those of `images`; see `Ranks.whole`."""
        return self.ranks.whole(rows, len(self.labels))


@dataclass(frozen=True)
class StepInfo:
    """The state of the training before a step."""

    iteration: int
    """Counted from 0."""
    iterations: int
    """In the whole training."""
    learning_rate: float | Tensor
    """Of this step; a scalar tensor if a GPU may record the step (`training.graphs`)."""
    optimiser: SGD | None = None
    """The optimiser that takes the step, for methods whose look-ahead includes its momentum."""

    @property
    def rates(self) -> list[float] | None:
        """Factors on the learning rate per trained parameter; see `SGD`."""
        return None if self.optimiser is None else self.optimiser.rates

    @property
    def progress(self) -> float:
        """From 0 at the first iteration to almost 1 at the last."""
        return self.iteration / self.iterations


class Method:
    """Cross-entropy, with the hooks that other methods override."""

    uses_meta_batch = False
    meta_batches: Literal["passes", "draws", "training"] = "passes"
    """passes: shuffled passes over the meta set, without augmentation. draws: images of the meta set, drawn
    again at each step and augmented as training images are. training: class-balanced draws of the augmented
    training images."""
    uses_second_view = False
    replayable = False
    """Whether a GPU may record one iteration and replay it: `backward` reads only the model, the batches, the
    learning rate, and tensors that keep their place in memory (`refresh` and `load_state` copy into them).
    Subclasses that break this must reset it to False."""
    draws_ahead = True
    """Whether the next batches are known before a step: the sampler does not depend on the method's state."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        self.task = task

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Sampler:
        """The sampler of training batches for images with `labels` [N]; `name` is the schedule's choice."""
        return build_sampler(name, labels, batch_size, self.task.seed)

    def parameters(self) -> list[Tensor]:
        """Further tensors that the model's optimiser trains."""
        return []

    def adapt(self, network: nn.Module) -> nn.Module:
        """For methods that train whole networks: `network`, with a new classifier if it needs one."""
        return network

    def head(self, classifier: nn.Linear) -> nn.Module:
        """For methods that retrain a classifier: the head that replaces `classifier`."""
        raise TypeError(f"{type(self).__name__} trains whole networks, it has no head")

    def choice(self) -> Choice | None:
        """What the method chose on the meta set, for the record of the cell."""
        return None

    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Called before the first step of each epoch, with the training and the meta set.

        Must not change a network; a head may update itself.
        """

    def end_epoch(self, model: nn.Module, meta: ImageSet) -> None:
        """Called after the last step of each epoch, before the measurement on the meta set.

        Must not change a network; a head may update itself.
        """

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        return F.cross_entropy(logits, labels, reduction="none")

    def batch_loss(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """The loss of a batch, a scalar; by default the mean of `sample_losses`."""
        return self.sample_losses(logits, labels, info).mean()

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """Leave the gradient of one step in `.grad`; return scalars for the history.

        Called once per iteration with `.grad` empty. `meta` is a meta batch if `uses_meta_batch`, else None.
        With several ranks, losses are those of the whole batch (`Batch.whole`); the trainer sums `.grad`.
        """
        loss = self.batch_loss(batch.whole(model(batch.images)), batch.labels, info)
        loss.backward()
        return {"train_loss": loss.detach()}

    def refresh(self, accuracy: Tensor) -> None:
        """Receive the accuracies [C] on the meta set, measured after each epoch."""

    def difficulty(self) -> Tensor | None:
        """The current difficulties [C], if the method has them."""
        return None

    def weights(self) -> Tensor | None:
        """The current class weights [C] (mean 1), if the method has them."""
        return None

    def state(self) -> dict[str, Any]:
        """All state, beyond model and optimiser, that an exact resume needs."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
