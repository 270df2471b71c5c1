"""Labelled images in files: each batch is decoded while earlier batches train."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.randomness import generator
from longtail.training.batches import normalised
from longtail.training.from_files.decoders import Decoders, Decoding, Order
from longtail.training.from_files.photographs import DRAWS
from longtail.training.image_sets import View
from longtail.training.ranks import ALONE, Ranks
from longtail.training.transfers import to_device

BATCH = 128
"""Images of a part of `batches`."""
AHEAD = 4
"""Iterations whose images are decoded in advance."""
PARTS_AHEAD = 3
"""Parts of `batches` that are decoded in advance."""


@dataclass(frozen=True)
class FileImages:
    """An `ImageSet` of files [N] with the sha256 of each, and labels int64 [N] on the device."""

    files: Sequence[Path]
    hashes: Sequence[str]
    labels: Tensor
    side: int
    """Side of the network's input, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoders: Decoders
    layout: torch.memory_format = torch.channels_last
    """See `ImageSet`."""
    ranks: Ranks = ALONE
    begun: dict[tuple[int, str, int], Decoding] = field(default_factory=dict)
    """Views in progress, by key."""

    @property
    def ahead(self) -> int:
        """Decoders run alongside the training."""
        return AHEAD

    @property
    def decoding_rate(self) -> float | None:
        """See `Decoders.rate`."""
        return self.decoders.rate

    def _order(
        self, rows: Sequence[int], augment: str | None = None, draws: NDArray[np.float64] | None = None
    ) -> Order:
        return Order([(self.files[row], self.hashes[row]) for row in rows], augment, draws, self.side)

    def expect(self, view: View) -> None:
        """Start decoding."""
        if view.key in self.begun:
            return
        draws, part = None, self.ranks.part(len(view.rows))
        if view.augment is not None:
            draws = torch.rand(
                len(view.rows),
                DRAWS,
                generator=generator(view.seed, view.stream, view.step),
                dtype=torch.float64,
            ).numpy()[part]
        order = self._order(view.rows[part].tolist(), view.augment, draws)
        self.begun[view.key] = self.decoders.begin(order)

    def settle(self, view: View) -> None:
        """Wait for a GPU if the images of `view` are not decoded yet."""
        begun = self.begun.get(view.key)
        if self.labels.is_cuda and not (begun and begun.ready):
            torch.cuda.synchronize(self.labels.device)

    def view(self, view: View) -> tuple[Tensor, Tensor]:
        """The images, float32 [B, 3, side, side] (or this rank's part), and all labels [B]."""
        self.expect(view)
        images = self._on_device(self.begun.pop(view.key))
        return images, self.labels[to_device(view.rows, self.labels.device)]

    def batches(self) -> Iterator[Tensor]:
        """All images, or this rank's part, decoding some batches ahead."""
        own = self.ranks.part(len(self.files))
        starts = range(own.start, own.stop, BATCH)
        waiting: list[Decoding] = []
        for start in starts:
            rows = range(start, min(start + BATCH, own.stop))
            waiting.append(self.decoders.begin(self._order(rows)))
            if len(waiting) > PARTS_AHEAD:
                yield self._on_device(waiting.pop(0))
        for decoding in waiting:
            yield self._on_device(decoding)

    def _on_device(self, decoding: Decoding) -> Tensor:
        images = to_device(torch.from_numpy(decoding.images()), self.labels.device)
        return normalised(images, self.mean, self.std, self.layout)
