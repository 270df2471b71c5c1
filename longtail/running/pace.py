"""Estimates how long trainings take, from measured iterations and the cost of each method."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from longtail.config.presets import METHODS
from longtail.planning.plans import PlannedTraining

SEEN = 1 / 25
"""The share of a training after which its speed counts as measured."""
SOON = 20.0
"""Seconds after which it counts in any case."""


def image_passes(work: PlannedTraining) -> float:
    """Passes of single images through the network per iteration; see `Preset.image_passes`."""
    training = work.training
    return METHODS[work.method].image_passes(work.settings, training.batch_size, training.meta_batch_size)


Kind = tuple[str, str, float]
"""What decides the time of an iteration: network, method, `image_passes`."""


def _kind(work: PlannedTraining) -> Kind:
    return work.plan.network, work.method, image_passes(work)


@dataclass
class Pace:
    """Seconds per iteration by kind, as last measured, and seconds of a training outside its iterations."""

    measured: dict[Kind, float] = field(default_factory=dict)
    beside: float = 0.0
    _first: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By fingerprint: iterations done at the first look, and its time."""

    def measure(self, work: PlannedTraining, training: float, beside: float | None = None) -> None:
        """Record that the iterations of `work` took `training` seconds, the rest `beside` (None: unknown)."""
        self.measured[_kind(work)] = training / work.training.iterations
        if beside is not None:
            self.beside = beside

    def watch(self, works: Sequence[PlannedTraining], reached: Mapping[str, int], now: float) -> None:
        """Record how many iterations of the running `works` are done at time `now`, by fingerprint."""
        for work in works:
            done = reached.get(work.fingerprint, 0)
            if not 0 < done < work.training.iterations:
                continue
            # the time before the first iteration is mostly the start of the worker
            first, start = self._first.setdefault(work.fingerprint, (done, now))
            seen = done - first >= work.training.iterations * SEEN or now - start >= SOON
            if done > first and seen:
                self.measured[_kind(work)] = (now - start) / (done - first)

    def each(self, work: PlannedTraining) -> float | None:
        """Seconds per iteration of `work`; None if nothing was measured.

        If its own kind was not, an estimate by `image_passes` from the other kinds of the same network, or
        else of any network.
        """
        kind = _kind(work)
        if kind in self.measured or not self.measured:
            return self.measured.get(kind)
        same = [other for other in self.measured if other[0] == kind[0]]
        known = same or list(self.measured)
        return kind[2] * sum(self.measured[other] / other[2] for other in known) / len(known)

    def expected(self, work: PlannedTraining, done: int = 0) -> float | None:
        """Seconds that `work` still takes after iteration `done`; None if nothing was measured."""
        each = self.each(work)
        return None if each is None else each * (work.training.iterations - done) + self.beside

    def left(
        self, works: Sequence[PlannedTraining], reached: Mapping[str, int], workers: int
    ) -> float | None:
        """Seconds until `workers` finish all `works`: running ones first, then the others in order.

        None if nothing was measured.
        """
        free = [0.0] * workers
        for work in sorted(works, key=lambda work: not reached.get(work.fingerprint, 0)):
            expected = self.expected(work, reached.get(work.fingerprint, 0))
            if expected is None:
                return None
            heapq.heapreplace(free, free[0] + expected)
        return max(free)
