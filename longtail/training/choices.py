"""What the meta set chooses: a few free numbers of a head, from a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from longtail.config.records import Frozen

STEPS = tuple(step / 10 for step in range(21))
"""0 to 2 in steps of 0.1."""

Grid = Mapping[str, Sequence[float]]
"""The candidates for each number, by its name."""


class Choice(Frozen):
    """The numbers with the best accuracy on the meta set, and the accuracies of the whole grid."""

    chosen: dict[str, float]
    numbers: list[str]
    """Their names, in the order of `meta_accuracy` (a file in JSON sorts `grid` by name)."""
    grid: dict[str, list[float]]
    """The candidates for each number."""
    meta_accuracy: list[float]
    """Of each combination, 0..1; the last of `numbers` varies fastest."""


def combinations(grid: Grid) -> list[dict[str, float]]:
    """All combinations of a grid; the last number varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def best_of(grid: Grid, right: Sequence[int], images: int) -> Choice:
    """The first combination with the most images classified right, from the counts in `combinations` order.

    First means the smallest numbers where candidates ascend. `images`: how many there are.
    """
    return Choice(
        chosen=combinations(grid)[right.index(max(right))],
        numbers=list(grid),
        grid={name: list(values) for name, values in grid.items()},
        meta_accuracy=[count / images for count in right],
    )
