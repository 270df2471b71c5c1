"""What an iteration of each method costs, and how long the trainings that are open will take."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from longtail.config.presets import METHODS
from longtail.planning.plans import PlannedTraining

SEEN = 1 / 25
"""The share of a training after which its speed counts as measured."""
SOON = 20.0
"""Seconds after which it does in any case."""


def image_passes(work: PlannedTraining) -> float:
    """Passes of single images through the network per iteration; see `Preset.image_passes`."""
    training = work.training
    return METHODS[work.method].image_passes(work.settings, training.batch_size, training.meta_batch_size)


Kind = tuple[str, str, float]
"""What decides the time of an iteration: network, method, and its `image_passes`."""


def _kind(work: PlannedTraining) -> Kind:
    return work.plan.network, work.method, image_passes(work)


@dataclass
class Pace:
    """Seconds an iteration takes, as last measured, by its kind; and seconds beside the iterations."""

    measured: dict[Kind, float] = field(default_factory=dict)
    beside: float = 0.0
    _first: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By fingerprint: iterations that were done when they were first looked at, and when that was."""

    def measure(self, work: PlannedTraining, training: float, beside: float | None = None) -> None:
        """So many seconds took the iterations of `work`, and everything else of it (None: not known)."""
        self.measured[_kind(work)] = training / work.training.iterations
        if beside is not None:
            self.beside = beside

    def watch(self, works: Sequence[PlannedTraining], reached: Mapping[str, int], now: float) -> None:
        """At the time `now`, `reached` iterations are done of those `works` that run, by fingerprint."""
        for work in works:
            done = reached.get(work.fingerprint, 0)
            if not 0 < done < work.training.iterations:
                continue
            # what comes before the first iteration is mostly the start of the worker
            first, start = self._first.setdefault(work.fingerprint, (done, now))
            seen = done - first >= work.training.iterations * SEEN or now - start >= SOON
            if done > first and seen:
                self.measured[_kind(work)] = (now - start) / (done - first)

    def each(self, work: PlannedTraining) -> float | None:
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

    def expected(self, work: PlannedTraining, done: int = 0) -> float | None:
        """Seconds that `work` will take from iteration `done` on; None where nothing was measured."""
        each = self.each(work)
        return None if each is None else each * (work.training.iterations - done) + self.beside

    def left(
        self, works: Sequence[PlannedTraining], reached: Mapping[str, int], workers: int
    ) -> float | None:
        """Seconds until all of `works` are done by so many `workers`: those that were begun first, the others
        in their order, each as soon as a worker is free. None where nothing was measured."""
        free = [0.0] * workers
        for work in sorted(works, key=lambda work: not reached.get(work.fingerprint, 0)):
            expected = self.expected(work, reached.get(work.fingerprint, 0))
            if expected is None:
                return None
            heapq.heapreplace(free, free[0] + expected)
        return max(free)
