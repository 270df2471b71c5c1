"""The batches of one cell, and image sets in device memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from longtail.config.training import Training
from longtail.randomness import generator
from longtail.training.augment.batch import AUGMENTS
from longtail.training.image_sets import ImageSet, View
from longtail.training.method import Batch, Method
from longtail.training.ranks import ALONE, Ranks
from longtail.training.samplers import ClassAwareSampler, DrawnSampler, Sampler, ShuffledSampler
from longtail.training.throughput import Throughput
from longtail.training.transfers import to_device

PART = 1024
"""Images of a part of `Images.batches`."""
AHEAD = 32
"""Iterations whose batches are made together on a GPU, since one batch is too little work."""


def normalised(
    images: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    layout: torch.memory_format = torch.channels_last,
) -> Tensor:
    """uint8 images [B, channels, H, W] as a network takes them, in the order `layout` of memory; floats count
    as normalised already."""
    if not images.is_floating_point():
        centre, spread = (to_device(torch.tensor(values), images.device) for values in (mean, std))
        images = (images.float() / 255 - centre[:, None, None]) / spread[:, None, None]
    return images.contiguous(memory_format=layout)


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
    layout: torch.memory_format = torch.channels_last
    """See `ImageSet`."""
    ranks: Ranks = ALONE
    _expected: list[View] = field(default_factory=list, repr=False)
    _made: dict[tuple[int, str, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)
    """Views made in advance, by key."""

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        layout: torch.memory_format = torch.channels_last,
        ranks: Ranks = ALONE,
    ) -> Images:
        """From uint8 images [N, H, W, channels]."""
        raw = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        own = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        return cls(raw, own, mean, std, layout, ranks)

    @property
    def ahead(self) -> int:
        """On a CPU nothing is gained."""
        return AHEAD if self.raw.is_cuda else 0

    @property
    def decoding_rate(self) -> None:
        """Nothing is decoded."""
        return None

    @cached_property
    def pixels(self) -> Tensor:
        """All images as the network takes them, float32 [N, channels, H, W], without augmentation."""
        return normalised(self.raw, self.mean, self.std, self.layout)

    def view(self, view: View) -> tuple[Tensor, Tensor]:
        """The network inputs and their labels, made together with the expected views."""
        if view.key not in self._made:
            together = [other for other in self._expected if other.stream == view.stream]
            self._expected[:] = [other for other in self._expected if other.stream != view.stream]
            self._make([view, *(other for other in together if other.key != view.key)])
        return self._made.pop(view.key)

    def _make(self, views: Sequence[View]) -> None:
        """Those of one stream."""
        sizes = [len(view.rows) for view in views]
        parts = [self.ranks.part(size) for size in sizes]
        every = to_device(torch.cat([view.rows for view in views]), self.raw.device)
        rows = torch.cat([own[part] for own, part in zip(every.split(sizes), parts, strict=True)])
        if views[0].augment is None:
            images = self.pixels[rows]
        else:
            augment = AUGMENTS[views[0].augment]
            draws = [generator(view.seed, view.stream, view.step) for view in views]
            numbers = [
                augment.draw(size, own)[part] for size, own, part in zip(sizes, draws, parts, strict=True)
            ]
            made = augment.apply(self.raw[rows], torch.cat(numbers))
            images = normalised(made, self.mean, self.std, self.layout)
        own = images.split([part.stop - part.start for part in parts])
        made = zip(views, own, self.labels[every].split(sizes), strict=True)
        self._made.update({view.key: (images, labels) for view, images, labels in made})

    def expect(self, view: View) -> None:
        """Note it."""
        self._expected.append(view)

    def settle(self, view: View) -> None:
        """Nothing to do."""

    def batches(self) -> Iterator[Tensor]:
        """All images, or this rank's part."""
        return iter(self.pixels[self.ranks.part(len(self.labels))].split(PART))


Kind = TypeVar("Kind", bound=ImageSet)


class TrainingData(Generic[Kind]):
    """Training and meta batches of one cell, each a function of (seed, iteration).

    (If a method has its own sampler, also of that method's state.) With several ranks, each has its part.
    """

    def __init__(self, train: Kind, meta: Kind, training: Training, method: Method, seed: int) -> None:
        self.train, self.meta, self.seed, self.training = train, meta, seed, training
        self.two_views, self.draws_ahead = method.uses_second_view, method.draws_ahead
        self.throughput = Throughput()
        self._told: dict[str, int] = {}
        """The first iteration not yet announced, by stream."""
        labels = train.labels.cpu()
        self.sampler = method.sampler(training.sampler, labels, training.batch_size)
        size, order = training.meta_batch_size, "meta_order"
        self.meta_source: ImageSet = train if method.meta_batches == "training" else meta
        self.meta_augment = None if method.meta_batches == "passes" else training.augment
        self.meta_sampler: Sampler = {
            "passes": lambda: ShuffledSampler(meta.labels.numel(), size, seed, stream=order),
            "draws": lambda: DrawnSampler(meta.labels.numel(), size, seed, stream=order),
            "training": lambda: ClassAwareSampler(labels, size, seed, per_class=1, stream=order),
        }[method.meta_batches]()
        if train.ranks.size > 1:  # one that a rank gets nothing of is refused here, not in mid-training
            for sampler in (self.sampler, self.meta_sampler):
                for iteration in (0, sampler.batches_per_epoch - 1):  # the last may be short
                    train.ranks.part(len(sampler.batch(iteration)))

    @property
    def batches_per_epoch(self) -> int:
        """Iterations between refreshes of the accuracies."""
        return self.sampler.batches_per_epoch

    def train_batch(self, iteration: int) -> Batch:
        """The augmented training batch of `iteration`."""
        (images, labels), *second = [self._made(self.train, view) for view in self._train_views(iteration)]
        for later in self._later(self.train, iteration, "train") if self.draws_ahead else ():
            for view in self._train_views(later):
                self.train.expect(view)
        return Batch(images, labels, second[0][0] if second else None, self.train.ranks)

    def meta_batch(self, iteration: int) -> Batch:
        """The meta batch of `iteration`, as the method wants it."""
        images, labels = self._made(self.meta_source, self._meta_view(iteration))
        for later in self._later(self.meta_source, iteration, "meta"):
            self.meta_source.expect(self._meta_view(later))
        return Batch(images, labels, ranks=self.train.ranks)

    def _train_views(self, iteration: int) -> list[View]:
        rows = self.sampler.batch(iteration)
        views = [View(rows, self.training.augment, self.seed, "augment", iteration)]
        if self.two_views:
            views.append(View(rows, self.training.second_augment, self.seed, "second_augment", iteration))
        return views

    def _meta_view(self, iteration: int) -> View:
        rows = self.meta_sampler.batch(iteration)
        return View(rows, self.meta_augment, self.seed, "meta_augment", iteration)

    def _later(self, source: ImageSet, iteration: int, stream: str) -> range:
        """The iterations after this one whose batches can start now, each named once."""
        first = max(iteration + 1, self._told.get(stream, 0))
        end = min(iteration + 1 + source.ahead, self.training.iterations)
        self._told[stream] = max(first, end)
        return range(first, end)

    def _made(self, source: ImageSet, view: View) -> tuple[Tensor, Tensor]:
        source.settle(view)
        began = time.monotonic()
        images, labels = source.view(view)
        self.throughput.loading += time.monotonic() - began
        self.throughput.images += len(images)
        return images, labels
