"""The interface between the training loop and labelled images, in memory or in files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from longtail.training.ranks import Ranks


@dataclass(frozen=True, eq=False)
class View:
    """A request for one batch: which images, under which augmentation.

    The result is a function of this request alone. Draws come from (`seed`, `stream`, `step`), one row of
    numbers per position in the batch. `augment` None: the test transform, without draws.
    """

    rows: Tensor
    """int64 [B], on the CPU."""
    augment: str | None
    seed: int
    stream: str
    step: int

    @property
    def key(self) -> tuple[int, str, int]:
        """Tells the views of one set apart."""
        return self.seed, self.stream, self.step


class ImageSet(Protocol):
    """N labelled images, served as network inputs: float32 [B, channels, H, W], normalised, on one device.

    With several ranks, each is served its part of a view and of the whole set.
    """

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        ...

    @property
    def layout(self) -> torch.memory_format:
        """The order of the images in memory, and of the weights of their network."""
        ...

    @property
    def ranks(self) -> Ranks:
        """The processes that share the images."""
        ...

    @property
    def ahead(self) -> int:
        """How many iterations ahead calling `expect` pays off."""
        ...

    @property
    def decoding_rate(self) -> float | None:
        """Images decoded per second, as measured; None if nothing was decoded yet."""
        ...

    def view(self, view: View) -> tuple[Tensor, Tensor]:
        """The images of a view [B, channels, H, W] and their labels, int64 [B].

        With several ranks, this rank's part of the images, and all labels.
        """
        ...

    def expect(self, view: View) -> None:
        """Announce `view`, so that its work can start."""
        ...

    def settle(self, view: View) -> None:
        """If `view` is not ready, wait for the device first, so that no wait is counted twice."""
        ...

    def batches(self) -> Iterator[Tensor]:
        """All images, or this rank's part, in order under the test transform, a batch at a time."""
        ...
