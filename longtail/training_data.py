"""The batches of one cell; and images that are held in memory, on the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from longtail.augment import AUGMENTS
from longtail.benchmarks import Training
from longtail.image_sets import ImageSet, View
from longtail.method import Batch, Method
from longtail.randomness import generator
from longtail.samplers import ClassAwareSampler, Sampler, ShuffledSampler
from longtail.throughput import Throughput

PART = 1024
"""Images of a part of `Images.batches`."""
AHEAD = 2
"""Iterations whose batches are begun before they are asked for."""


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 images [B, channels, H, W] as a network takes them, in channels-last order; floats count as
    normalised already."""
    if not images.is_floating_point():
        centre, spread = (torch.tensor(values, device=images.device) for values in (mean, std))
        images = (images.float() / 255 - centre[:, None, None]) / spread[:, None, None]
    return images.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Images:
    """An `ImageSet` in memory; labels int64 [N].

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

    @property
    def decoded(self) -> bool:
        """They are here already."""
        return False

    @property
    def decoding_rate(self) -> None:
        """Nothing is decoded."""
        return None

    @cached_property
    def pixels(self) -> Tensor:
        """All images as the network takes them, float32 [N, channels, H, W], without augmentation."""
        return normalised(self.raw, self.mean, self.std)

    def view(self, view: View) -> Tensor:
        """The images, as the network takes them."""
        chosen = view.rows.to(self.raw.device)
        if view.augment is None:
            return self.pixels[chosen]
        draws = generator(view.seed, view.stream, view.step)
        return normalised(AUGMENTS[view.augment](self.raw[chosen], draws), self.mean, self.std)

    def expect(self, view: View) -> None:
        """Nothing to do."""

    def settle(self, view: View) -> None:
        """Nothing to do."""

    def batches(self) -> Iterator[Tensor]:
        """All images."""
        return iter(self.pixels.split(PART))


Kind = TypeVar("Kind", bound=ImageSet)


class TrainingData(Generic[Kind]):
    """Training and meta batches of one cell, each a function of (seed, iteration).

    (Where a method brings a sampler of its own, also of the state of that method.)
    """

    def __init__(self, train: Kind, meta: Kind, training: Training, method: Method, seed: int) -> None:
        self.train, self.meta, self.seed, self.training = train, meta, seed, training
        self.two_views, self.draws_ahead = method.uses_second_view, method.draws_ahead
        self.throughput = Throughput()
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
        views = self._train_views(iteration)
        images = [self._made(self.train, view) for view in views]
        for later in self._later(iteration) if self.draws_ahead else ():
            for view in self._train_views(later):
                self.train.expect(view)
        rows = views[0].rows.to(self.train.labels.device)
        return Batch(images[0], self.train.labels[rows], images[1] if self.two_views else None)

    def meta_batch(self, iteration: int) -> Batch:
        """The meta batch of `iteration`.

        Images of the meta set are not augmented (the authors' code uses test transforms), training images
        are.
        """
        source: ImageSet = self.train if self.meta_from_training else self.meta
        view = self._meta_view(iteration)
        images = self._made(source, view)
        for later in self._later(iteration):
            source.expect(self._meta_view(later))
        return Batch(images, source.labels[view.rows.to(source.labels.device)])

    def _train_views(self, iteration: int) -> list[View]:
        rows = self.sampler.batch(iteration)
        views = [View(rows, self.training.augment, self.seed, "augment", iteration)]
        if self.two_views:
            views.append(View(rows, self.training.second_augment, self.seed, "second_augment", iteration))
        return views

    def _meta_view(self, iteration: int) -> View:
        augment = self.training.augment if self.meta_from_training else None
        return View(self.meta_sampler.batch(iteration), augment, self.seed, "meta_augment", iteration)

    def _later(self, iteration: int) -> range:
        """The iterations whose batches can be begun now."""
        ahead = AHEAD if self.train.decoded else 0
        return range(iteration + 1, min(iteration + 1 + ahead, self.training.iterations))

    def _made(self, source: ImageSet, view: View) -> Tensor:
        source.settle(view)
        began = time.monotonic()
        images = source.view(view)
        self.throughput.loading += time.monotonic() - began
        self.throughput.images += len(images)
        return images
