"""All trainings of a benchmark, the most important first, and which of them fit a time budget."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from longtail.config.layouts import read_layouts
from longtail.config.presets.preset import did_you_mean
from longtail.errors import InputError
from longtail.planning.fingerprints import fingerprint
from longtail.planning.plans import BundlePlan, Cell, PlannedTraining
from longtail.running.pace import Pace

FIRST = (
    "cross_entropy",
    "focal",
    "balanced_softmax",
    "difficulty_net",
    "difficulty_net_detached",
    "difficulty_net_balanced_softmax",
)
"""The variants that come first, then `FIRST_HEADS` on the features of `FIRST_FEATURES`."""
FIRST_FEATURES = ("cross_entropy", "difficulty_net")
FIRST_HEADS = ("crt", "lws", "las")
FIRST_IMBALANCES = (100, 10)
"""Where the paper has its ablations; if 100 is not planned, the largest planned one."""
SWEEP = 5
"""The number of the table whose variants come next."""


@dataclass(frozen=True)
class Step(PlannedTraining):
    """One training of the programme, and all cells whose result it is: equal settings are trained once."""

    features: str | None = None
    """For a head: the fingerprint of the training whose features it uses."""
    others: tuple[tuple[BundlePlan, Cell], ...] = ()
    """Further cells with this result."""

    @property
    def cells(self) -> list[tuple[BundlePlan, Cell]]:
        """All cells with this result."""
        return [(self.plan, self.cell), *self.others]


def row_name(cell: Cell) -> str:
    """`difficulty_net`, or `difficulty_net-crt` for a head."""
    return f"{cell.variant}-{cell.head}" if cell.head else cell.variant


def select_cells(
    plans: Sequence[BundlePlan], rows: Sequence[str], imbalances: Sequence[float], seeds: Sequence[int]
) -> list[tuple[BundlePlan, Cell]]:
    """The planned cells of `rows` (see `row_name`), `imbalances` and `seeds`; an empty sequence means all.

    Features of chosen heads are included. Raises InputError for one that is not planned.
    """
    planned = [(plan, cell) for plan in plans for cell in plan.cells()]
    for option, wanted, known in (
        ("--only", rows, [row_name(cell) for _, cell in planned]),
        ("--imbalance", [f"{r:g}" for r in imbalances], [f"{plan.imbalance:g}" for plan in plans]),
        ("--seed", list(map(str, seeds)), [str(cell.seed) for _, cell in planned]),
    ):
        for name in wanted:
            if name not in known:
                raise InputError(
                    f"{option} {name}", "not planned", did_you_mean(name, list(dict.fromkeys(known)))
                )
    with_features = {*rows, *(name.rpartition("-")[0] for name in rows)}
    return [
        (plan, cell)
        for plan, cell in planned
        if (not rows or row_name(cell) in with_features)
        and (not imbalances or cell.imbalance in imbalances)
        and (not seeds or cell.seed in seeds)
    ]


def programme(
    plans: Sequence[BundlePlan],
    chosen: Sequence[tuple[BundlePlan, Cell]],
    manifests: Mapping[float, dict[str, str]],
) -> list[Step]:
    """The trainings of the `chosen` cells, each once, in order, with all cells of `plans` that they fill.

    Seed by seed: `FIRST`, then their heads, at `FIRST_IMBALANCES`; the sweep over lambda there; the other
    variants there; then the other imbalances. `manifests`: fingerprints of the data sets by imbalance, empty
    if they do not exist yet.
    """
    imbalances = list(dict.fromkeys(plan.imbalance for plan in plans))
    seeds = list(dict.fromkeys(seed for plan in plans for seed in plan.seeds))
    bundles = list(dict.fromkeys(plan.bundle for plan in plans))
    largest = FIRST_IMBALANCES[0] if FIRST_IMBALANCES[0] in imbalances else max(imbalances)
    first = [largest, *(r for r in FIRST_IMBALANCES[1:] if r in imbalances and r != largest)]
    sweep = {row.variant for table in read_layouts().tables if table.number == SWEEP for row in table.rows}

    def place(cell: Cell) -> tuple[int, ...]:
        """Rank of a cell within its imbalance and seed: its part, and its place there."""
        heads = FIRST_HEADS if cell.variant in FIRST_FEATURES else ()
        if cell.head in heads:
            return 1, FIRST_FEATURES.index(cell.variant), heads.index(cell.head)
        if cell.head is None and cell.variant in FIRST:
            return 0, FIRST.index(cell.variant)
        return 2 if cell.variant in sweep else 3, bundles.index(cell.bundle)

    def rank(cell: Cell) -> tuple[int, ...]:
        part, *inside = place(cell)
        if cell.imbalance not in first:
            return seeds.index(cell.seed), 4, imbalances.index(cell.imbalance), part, *inside
        # the first variants and their heads finish at one imbalance before the next; the rest go part by part
        outer = 0 if part < 2 else part
        return seeds.index(cell.seed), outer, first.index(cell.imbalance), part, *inside

    found: dict[str, Step] = {}
    for plan, cell in sorted(chosen, key=lambda pair: rank(pair[1])):
        data = manifests.get(cell.imbalance, {})
        mark = fingerprint(plan, cell, data)
        features = fingerprint(plan, cell.below, data) if cell.head else None
        found.setdefault(mark, Step(plan, cell, mark, features))
    for plan in plans:
        for cell in plan.cells():
            step = found.get(fingerprint(plan, cell, manifests.get(cell.imbalance, {})))
            if step and cell != step.cell:
                found[step.fingerprint] = replace(step, others=(*step.others, (plan, cell)))
    return list(found.values())


def slice_of(steps: Sequence[Step], number: int, count: int) -> list[Step]:
    """Every `count`-th network of a programme, from the `number`-th (1..count) on, and its heads.

    The `count` slices share no training and together have all.
    """
    networks = [step.fingerprint for step in steps if step.features is None]
    own = set(networks[number - 1 :: count])
    return [step for step in steps if (step.features or step.fingerprint) in own]


class Budget:
    """Minutes from now; None: no limit. `reserve`: seconds kept for what follows the trainings."""

    def __init__(
        self, minutes: float | None, clock: Callable[[], float] = time.monotonic, reserve: float = 0.0
    ) -> None:
        self.clock, self.reserve = clock, reserve
        self.end = math.inf if minutes is None else clock() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds left for trainings, negative once they are used up."""
        return self.end - self.reserve - self.clock()

    def __str__(self) -> str:
        left = self.left + self.reserve
        return "no limit" if left == math.inf else f"{max(left, 0) / 60:.1f} min left"


def choose(
    waiting: Sequence[Step], finished: set[str], begun: set[str], pace: Pace, left: float
) -> Step | None:
    """The first of the `waiting` steps that can start with `left` seconds to go, or None.

    A head waits for its features. A training that would exceed the time is skipped, unless it has `begun`
    and so has a checkpoint, or nothing was measured yet.
    """
    if left <= 0:
        return None
    for step in waiting:
        if step.features is not None and step.features not in finished:
            continue
        expected = pace.expected(step)
        if expected is None or expected <= left or step.fingerprint in begun:
            return step
    return None
