"""The images of one cell on the device, and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Labelled images: pixels float32 [N, channels, H, W], normalised; labels int64 [N]."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> Images:
        """From uint8 images [N, H, W, channels], with the channels' mean and deviation (of 0..1)."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
        shape = (1, -1, 1, 1)
        scaled = (pixels.float() / 255 - torch.tensor(mean, device=device).view(shape)) / torch.tensor(
            std, device=device
        ).view(shape)
        return cls(scaled.contiguous(), torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device))


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
        pixels = self.train.pixels[chosen]
        images = self.augment(pixels, generator(self.seed, "augment", iteration))
        second_view = None
        if self.second_augment is not None:
            second_view = self.second_augment(pixels, generator(self.seed, "second_augment", iteration))
        return Batch(images, self.train.labels[chosen], second_view)

    def meta_batch(self, iteration: int) -> Batch:
        """The meta batch of `iteration`.

        Images of the meta set are not augmented (the authors' code uses test transforms), training images
        are.
        """
        chosen = self.meta_sampler.batch(iteration).to(self.meta.labels.device)
        if not self.meta_from_training:
            return Batch(self.meta.pixels[chosen], self.meta.labels[chosen])
        images = self.augment(self.train.pixels[chosen], generator(self.seed, "meta_augment", iteration))
        return Batch(images, self.train.labels[chosen])
