"""The images of one cell on the device, and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from longtail.augment import AUGMENTS
from longtail.benchmarks import Training
from longtail.method import Batch, Method
from longtail.randomness import generator
from longtail.samplers import ClassAwareSampler, Sampler, ShuffledSampler


@dataclass(frozen=True)
class Images:
    """Labelled images, labels int64 [N].

    `raw` is uint8 [N, channels, H, W], which is what augmentation takes; floats count as normalised already.
    """

    raw: Tensor
    labels: Tensor
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Of each channel, on the scale 0..1."""

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> Images:
        """From uint8 images [N, H, W, channels]."""
        raw = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        return cls(raw, torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device), mean, std)

    @cached_property
    def pixels(self) -> Tensor:
        """All images as the network takes them, float32 [N, channels, H, W], without augmentation."""
        return self.normalised(self.raw)

    def normalised(self, images: Tensor) -> Tensor:
        """Images [B, channels, H, W] of `raw`'s kind as the network takes them, in channels-last order."""
        if not images.is_floating_point():
            mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
            images = (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
        return images.contiguous(memory_format=torch.channels_last)


class TrainingData:
    """Training and meta batches of one cell, each a function of (seed, iteration).

    (Where a method brings a sampler of its own, also of the state of that method.)
    """

    def __init__(self, train: Images, meta: Images, training: Training, method: Method, seed: int) -> None:
        self.train, self.meta, self.seed = train, meta, seed
        self.augment = AUGMENTS[training.augment]
        self.second_augment = AUGMENTS[training.second_augment] if method.uses_second_view else None
        labels = train.labels.cpu()
        self.sampler = method.sampler(training.sampler, labels, training.batch_size)
        self.meta_from_training = method.meta_from_training
        self.meta_sampler: Sampler = ShuffledSampler(
            meta.labels.numel(), training.meta_batch_size, seed, stream="meta_order"
        )
        if self.meta_from_training:
            self.meta_sampler = ClassAwareSampler(
                labels, training.meta_batch_size, seed, per_class=1, stream="meta_order"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Iterations from one refresh of the accuracies to the next."""
        return self.sampler.batches_per_epoch

    def train_batch(self, iteration: int) -> Batch:
        """The augmented training batch of `iteration`."""
        chosen = self.sampler.batch(iteration).to(self.train.labels.device)
        raw = self.train.raw[chosen]
        images = self.augment(raw, generator(self.seed, "augment", iteration))
        second_view = None
        if self.second_augment is not None:
            second_view = self.train.normalised(
                self.second_augment(raw, generator(self.seed, "second_augment", iteration))
            )
        return Batch(self.train.normalised(images), self.train.labels[chosen], second_view)

    def meta_batch(self, iteration: int) -> Batch:
        """The meta batch of `iteration`.

        Images of the meta set are not augmented (the authors' code uses test transforms), training images
        are.
        """
        chosen = self.meta_sampler.batch(iteration).to(self.meta.labels.device)
        if not self.meta_from_training:
            return Batch(self.meta.pixels[chosen], self.meta.labels[chosen])
        images = self.augment(self.train.raw[chosen], generator(self.seed, "meta_augment", iteration))
        return Batch(self.train.normalised(images), self.train.labels[chosen])
