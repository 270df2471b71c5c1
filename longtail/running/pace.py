"""What an iteration of each method costs, and how long the trainings that are open will take."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from longtail.config.benchmarks import Training
from longtail.planning.plans import BundlePlan, Cell

LOOK_AHEAD = ("cb_da", "difficulty_net", "meta_weight_net", "sample_difficulty_net")
"""The methods that learn weights through one step of training."""

SEEN = 1 / 25
"""The part of a training after which its speed is taken for that of the whole."""


class Open(Protocol):
    """A training: a `Job`, or a `Step` of a programme."""

    @property
    def plan(self) -> BundlePlan:
        """Of its bundle."""
        ...

    @property
    def cell(self) -> Cell:
        """That it trains."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of that cell."""
        ...

    @property
    def method(self) -> str:
        """What trains."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Those of `method`."""
        ...

    @property
    def training(self) -> Training:
        """Its schedule."""
        ...


def image_passes(work: Open) -> float:
    """Images that go forward through the network in an iteration, where a backward pass counts as two and a
    derivative along a direction too, which uses the first forward pass again (docs/performance.md).

    With batches of B, and of M from the meta set: 3 B for a plain step, and 4 B + 3 M more for a look ahead.
    """
    batch, meta = work.training.batch_size, work.training.meta_batch_size
    if work.cell.head is not None:  # on features that are frozen: there is no backward pass
        return batch + (meta if work.settings.get("meta_sampler") else 0)
    if work.method == "paco":  # the second view, through the momentum encoder
        return 4 * batch
    if work.method not in LOOK_AHEAD or work.settings.get("meta_gradient") == "detached":
        return 3 * batch
    part = 1 - work.settings["start"] if work.method == "cb_da" else 1
    return 3 * batch + part * (4 * batch + 3 * meta)


Kind = tuple[str, str, float]
"""What decides the time of an iteration: network, method, and its `image_passes`."""


def _kind(work: Open) -> Kind:
    return work.plan.network, work.method, image_passes(work)


@dataclass
class Pace:
    """Seconds an iteration takes, as last measured, by its kind; and seconds beside the iterations."""

    measured: dict[Kind, float] = field(default_factory=dict)
    beside: float = 0.0
    _first: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By fingerprint: iterations that were done when they were first looked at, and when that was."""

    def measure(self, work: Open, training: float, beside: float | None = None) -> None:
        """So many seconds took the iterations of `work`, and everything else of it (None: not known)."""
        self.measured[_kind(work)] = training / work.training.iterations
        if beside is not None:
            self.beside = beside

    def watch(self, works: Sequence[Open], reached: Mapping[str, int], now: float) -> None:
        """At the time `now`, `reached` iterations are done of those `works` that run, by fingerprint."""
        for work in works:
            done = reached.get(work.fingerprint, 0)
            if not 0 < done < work.training.iterations:
                continue
            # what comes before the first iteration is mostly the start of the worker
            first, start = self._first.setdefault(work.fingerprint, (done, now))
            if done - first >= work.training.iterations * SEEN:
                self.measured[_kind(work)] = (now - start) / (done - first)

    def each(self, work: Open) -> float | None:
        """Seconds that an iteration of `work` takes; None where nothing was measured.

        Where its own kind was not, by its `image_passes`, from what each takes in the other kinds of the same
        network, or of any where that has none.
        """
        kind = _kind(work)
        if kind in self.measured or not self.measured:
            return self.measured.get(kind)
        same = [other for other in self.measured if other[0] == kind[0]]
        known = same or list(self.measured)
        return kind[2] * sum(self.measured[other] / other[2] for other in known) / len(known)

    def expected(self, work: Open, done: int = 0) -> float | None:
        """Seconds that `work` will take from iteration `done` on; None where nothing was measured."""
        each = self.each(work)
        return None if each is None else each * (work.training.iterations - done) + self.beside

    def left(self, works: Sequence[Open], reached: Mapping[str, int], workers: int) -> float | None:
        """Seconds until all of `works` are done by so many `workers`: those that were begun first, the others
        in their order, each as soon as a worker is free. None where nothing was measured."""
        free = [0.0] * workers
        for work in sorted(works, key=lambda work: not reached.get(work.fingerprint, 0)):
            expected = self.expected(work, reached.get(work.fingerprint, 0))
            if expected is None:
                return None
            heapq.heapreplace(free, free[0] + expected)
        return max(free)
