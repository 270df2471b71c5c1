"""Whether a replayed iteration did what a plain one does, from the same state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

ALLOWED = 0.05
"""Difference of two iterations that counts as rounding, relative to what an iteration changes. A wrong batch,
rate or accuracy changes all of it."""
NOISE = 4.0
"""Or this many times the difference of two plain iterations, whose sums a GPU may add in another order."""

Tensors = Mapping[str, Tensor]


@torch.no_grad()
def copies(tensors: Tensors) -> dict[str, Tensor]:
    """Copies of `tensors`."""
    return {name: value.detach().clone() for name, value in tensors.items()}


@torch.no_grad()
def put_back(tensors: Tensors, values: Tensors) -> None:
    """Copy `values` into `tensors`."""
    for name, value in values.items():
        tensors[name].copy_(value)


class Comparison:
    """A replayed iteration against one plain iteration or two."""

    def __init__(self, before: Tensors, plain: Tensors, replayed: Tensors) -> None:
        """The tensors before, after the plain and after the replayed iteration; scalars are new."""
        self.before, self.plain = before, plain
        self.distances = _distances(plain, replayed)
        self.largest = 0.0
        """The largest difference, relative to the change by the plain iteration."""
        self.refusal: str | None = None
        """The tensor that differs too much, and by how much."""

    @property
    def equal(self) -> bool:
        """Whether all numbers are the same."""
        return not any(self.distances.values())

    def judge(self, plain: Tensors) -> None:
        """Judge the differences by a second plain iteration from the same state."""
        noise = _distances(self.plain, plain)
        nothing = {name: torch.zeros_like(value) for name, value in plain.items() if name not in self.before}
        changes = _distances(self.plain, {**self.before, **nothing})
        for name, distance in self.distances.items():
            if not distance:
                continue
            share = distance / changes[name] if changes[name] else math.inf
            self.largest = max(self.largest, share)
            if not distance <= max(ALLOWED * changes[name], NOISE * noise[name]) and self.refusal is None:
                self.refusal = (
                    f"a replayed iteration differs from a plain one: {name} by {share:.1e} of its change"
                )


@torch.no_grad()
def _distances(one: Tensors, other: Tensors) -> dict[str, float]:
    """Euclidean distances by name, infinite where a number is not finite; waits for the device once."""
    norms = [(one[name].double() - other[name].double()).norm() for name in one]
    found = torch.stack(norms).nan_to_num(math.inf, math.inf).tolist() if norms else []
    return dict(zip(one, found, strict=True))
