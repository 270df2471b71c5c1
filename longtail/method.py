"""What a method is. It decides losses, weights and samplers; the training loop is not its business."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """What a method may know of the problem."""

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
    """One mini-batch: images [B, channels, H, W], labels int64 [B]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Moment:
    """Where a training stands, before one of its steps."""

    iteration: int
    """From 0."""
    iterations: int
    """Of the whole training."""
    learning_rate: float
    """Of the step to come."""

    @property
    def progress(self) -> float:
        """From 0 at the first iteration to almost 1 at the last."""
        return self.iteration / self.iterations


class Method:
    """Cross-entropy, and the hooks by which other methods differ from it."""

    uses_meta_batch = False

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        self.task = task

    def adapt(self, network: nn.Module) -> nn.Module:
        """For methods that train whole networks: `network` with another classifier, where one is needed."""
        return network

    def head(self, classifier: nn.Linear) -> nn.Module:
        """For methods that retrain a classifier: the head that takes `classifier`'s place."""
        raise TypeError(f"{type(self).__name__} trains whole networks, it has no head")

    def sample_losses(self, logits: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        return F.cross_entropy(logits, labels, reduction="none")

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, moment: Moment
    ) -> dict[str, Tensor]:
        """Leave the gradient of one step in the model's `.grad`; return detached scalars for the history.

        Called once an iteration with `.grad` empty. `meta` is a meta batch where `uses_meta_batch`.
        """
        loss = self.sample_losses(model(batch.images), batch.labels, moment).mean()
        loss.backward()
        return {"train_loss": loss.detach()}

    def refresh(self, accuracy: Tensor) -> None:
        """Take in the accuracies [C] on the meta set, measured after each epoch."""

    def difficulty(self) -> Tensor | None:
        """Difficulties [C] in force, where the method has them."""
        return None

    def weights(self) -> Tensor | None:
        """Class weights [C] in force (mean 1), where the method has them."""
        return None

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs beyond model and optimiser."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave."""
