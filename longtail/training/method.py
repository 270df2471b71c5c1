"""What a method is. It decides losses, weights and samplers; the training loop is not its business."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.training.optimisers import SGD
from longtail.training.samplers import Sampler, build_sampler

if TYPE_CHECKING:
    from longtail.training.image_sets import ImageSet


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
    second_view: Tensor | None = None
    """The same images under another augmentation, for methods with `uses_second_view`."""


@dataclass(frozen=True)
class Moment:
    """Where a training stands, before one of its steps."""

    iteration: int
    """From 0."""
    iterations: int
    """Of the whole training."""
    learning_rate: float | Tensor
    """Of the step to come; a tensor without axes where a GPU may record the step (`training.graphs`)."""
    optimiser: SGD | None = None
    """The one that takes the step, for methods that look ahead with its momentum."""

    @property
    def rates(self) -> list[float] | None:
        """Factors on the learning rate of what is trained; see `SGD`."""
        return None if self.optimiser is None else self.optimiser.rates

    @property
    def progress(self) -> float:
        """From 0 at the first iteration to almost 1 at the last."""
        return self.iteration / self.iterations


class Method:
    """Cross-entropy, and the hooks by which other methods differ from it."""

    uses_meta_batch = False
    meta_from_training = False
    """Meta batches are class-balanced draws of augmented training images, not of the meta set."""
    uses_second_view = False
    replayable = False
    """A GPU may record one iteration and replay it: `backward` reads nothing but the model, the batches, the
    learning rate, and tensors that keep their place in memory. (What `refresh` and `load_state` take in is
    copied into them.) A subclass of which this is not true says so again."""
    draws_ahead = True
    """The sampler's batches do not depend on the method's state: the next ones are known before a step."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        self.task = task

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Sampler:
        """What draws training batches from images with these labels [N]; `name`: the schedule's choice."""
        return build_sampler(name, labels, batch_size, self.task.seed)

    def parameters(self) -> list[Tensor]:
        """What the method trains beside the model, with the model's optimiser."""
        return []

    def adapt(self, network: nn.Module) -> nn.Module:
        """For methods that train whole networks: `network` with another classifier, where one is needed."""
        return network

    def head(self, classifier: nn.Linear) -> nn.Module:
        """For methods that retrain a classifier: the head that takes `classifier`'s place."""
        raise TypeError(f"{type(self).__name__} trains whole networks, it has no head")

    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Called before the first step of each epoch, with the images of the training and of the meta set.

        A network must stay as it is; a head may take note.
        """

    def sample_losses(self, logits: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        return F.cross_entropy(logits, labels, reduction="none")

    def batch_loss(self, logits: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """The loss of a batch, a scalar: the mean of `sample_losses`, where a loss is of single images."""
        return self.sample_losses(logits, labels, moment).mean()

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, moment: Moment
    ) -> dict[str, Tensor]:
        """Leave the gradient of one step in `.grad` of what is trained; return scalars for the history.

        Called once an iteration with `.grad` empty. `meta` is a meta batch where `uses_meta_batch`.
        """
        loss = self.batch_loss(model(batch.images), batch.labels, moment)
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
