"""The images of one cell on the device, and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longtail.augment import AUGMENTS
from longtail.benchmarks import Training
from longtail.method import Batch
from longtail.randomness import generator
from longtail.samplers import ShuffledSampler, build_sampler


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
    """Training and meta batches of one cell, each a function of (seed, iteration)."""

    def __init__(self, train: Images, meta: Images, training: Training, seed: int) -> None:
        self.train, self.meta, self.seed = train, meta, seed
        self.augment = AUGMENTS[training.augment]
        self.sampler = build_sampler(training.sampler, train.labels.cpu(), training.batch_size, seed)
        self.meta_sampler = ShuffledSampler(
            meta.labels.numel(), training.meta_batch_size, seed, stream="meta_order"
        )

    @property
    def batches_per_epoch(self) -> int:
        """Iterations from one refresh of the accuracies to the next."""
        return self.sampler.batches_per_epoch

    def train_batch(self, iteration: int) -> Batch:
        """The augmented training batch of `iteration`."""
        chosen = self.sampler.batch(iteration).to(self.train.labels.device)
        images = self.augment(self.train.pixels[chosen], generator(self.seed, "augment", iteration))
        return Batch(images, self.train.labels[chosen])

    def meta_batch(self, iteration: int) -> Batch:
        """The meta batch of `iteration`, not augmented (the authors' code uses test transforms)."""
        chosen = self.meta_sampler.batch(iteration).to(self.meta.labels.device)
        return Batch(self.meta.pixels[chosen], self.meta.labels[chosen])
