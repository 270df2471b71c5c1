"""What the training loop asks of labelled images, whether they are held in memory or stay files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A request for one batch: which images, and how each is changed.

    What comes back is a function of this alone. `augment` None: as in a test, nothing is drawn. Otherwise the
    draws are those of (`seed`, `stream`, `step`), a row of numbers for each place in the batch.
    """

    rows: Tensor
    """int64 [B], on the CPU."""
    augment: str | None
    seed: int
    stream: str
    step: int

    @property
    def key(self) -> tuple[int, str, int]:
        """What tells views of one set from each other."""
        return self.seed, self.stream, self.step


class ImageSet(Protocol):
    """N labelled images, as a network takes them: float32 [B, channels, H, W], normalised, on one device."""

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        ...

    @property
    def ahead(self) -> int:
        """How many iterations ahead it saves time to `expect` views."""
        ...

    @property
    def decoding_rate(self) -> float | None:
        """Images a second that can be decoded, measured so far; None before, and where nothing is decoded."""
        ...

    def view(self, view: View) -> tuple[Tensor, Tensor]:
        """The images of a view, [B, channels, H, W], and their labels, int64 [B]."""
        ...

    def expect(self, view: View) -> None:
        """`view` will be asked for soon, and can be begun."""
        ...

    def settle(self, view: View) -> None:
        """Where `view` is not ready, wait for the device, so that waiting for both is not counted twice."""
        ...

    def batches(self) -> Iterator[Tensor]:
        """All images in their order, as in a test, in parts that fit."""
        ...
