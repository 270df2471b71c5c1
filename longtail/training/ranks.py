"""One training in several processes ("ranks"), each with its part of every batch.

A rank passes its own images through the network and gathers the logits of the others, so it has the losses
of the whole batch. Its backward pass gives the part of the gradient that goes through its own images. The sum
over the ranks is the gradient of the whole batch, even for a loss that compares the images of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longtail.errors import InputError, MachineError, flat

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among `size` of them, which talk through `torch.distributed`; alone, it computes nothing.

    All ranks must make the same calls in the same order.
    """

    rank: int = 0
    size: int = 1

    def part(self, images: int) -> slice:
        """Which of `images` in a row are this rank's: contiguous parts whose lengths differ by one at most.

        Raises InputError if a rank gets none.
        """
        if images < self.size > 1:
            raise InputError(f"{self.size} ranks", f"a batch or set of {images} images", "start fewer ranks")
        return slice(images * self.rank // self.size, images * (self.rank + 1) // self.size)

    def whole(self, rows: Tensor, images: int) -> Tensor:
        """The rows [images, ...] of all ranks from this rank's `rows`, which keep their graph or tangent."""
        if self.size == 1:
            return rows
        import torch

        own, part = rows.detach(), self.part(images)
        gathered = own.new_zeros(images, *own.shape[1:])
        gathered[part] = own
        _reduce(gathered)
        return torch.cat([gathered[: part.start], rows, gathered[part.stop :]])

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each of `tensors` summed over the ranks, without graph; they travel as one vector."""
        if self.size == 1 or not tensors:
            return [*tensors]
        import torch

        with torch.no_grad():
            vector = torch.cat([own.reshape(-1) for own in tensors])
            _reduce(vector)
            parts = vector.split([own.numel() for own in tensors])
            # in memory as before: kernels choose their way by the order of a weight's gradient
            pairs = zip(tensors, parts, strict=True)
            return [torch.empty_like(own).copy_(part.view(own.shape)) for own, part in pairs]

    def first(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Those of rank 0, where all ranks computed the same up to rounding: or they would drift apart."""
        return self.summed([own if self.rank == 0 else own.new_zeros(own.shape) for own in tensors])

    def once(self, value: Tensor) -> Tensor:
        """`value`, a function of parameters and not of images: only rank 0 adds its gradient to the sum."""
        if self.size == 1:
            return value
        value = value.view_as(value)
        if value.requires_grad:
            value.register_hook(lambda gradient: gradient * (self.rank == 0))
        return value

    def largest(self, *values: int) -> list[int]:
        """The largest of each of these numbers over the ranks; waits for all of them."""
        if self.size == 1:
            return [*values]
        import torch

        found = torch.tensor(values, dtype=torch.int64)
        _reduce(found, "MAX")
        return found.tolist()

    def same(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all ranks have the same bytes in `tensors`."""
        if self.size == 1:
            return True
        digest = hashlib.sha256()
        for own in tensors:
            digest.update(own.detach().cpu().contiguous().numpy().tobytes())
        number = int.from_bytes(digest.digest()[:7], "big")
        largest, negative = self.largest(number, -number)
        return largest == -negative


class RankLostError(MachineError):
    """Another rank does not answer."""


def _reduce(tensor: Tensor, operation: Literal["SUM", "MAX"] = "SUM") -> None:
    """Sum (or largest value) over the ranks, in place. Raises RankLostError."""
    from torch import distributed

    try:
        distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation))
    except RuntimeError as error:
        raise RankLostError(f"another rank does not answer: {flat(error)}") from error


ALONE = Ranks()
"""A training in one process."""
