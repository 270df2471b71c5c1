"""Differences of two rows, paired by seed: same images, same draws, so what varies with them cancels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longtail.reporting.intervals import CONFIDENCE, Interval, mean_interval

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"


@dataclass(frozen=True)
class Difference:
    """The mean of differences over seeds, with its t interval and the p of the two-sided paired t test.

    `p` is None if the seeds give no spread to test with: there is one seed, or all differences are equal.
    """

    interval: Interval
    p: float | None

    @property
    def mean(self) -> float:
        """In the unit of the values."""
        return self.interval.mean


@dataclass(frozen=True)
class Judgement:
    """What is said of a difference among those of its family, such as one column of a table.

    `p_holm`: p after Holm's correction over the family, None without p. `word`: *better*, *worse* or
    *undecided*. `mcnemar`: where both rows have one seed in common, p of McNemar's exact test over its test
    images; see `mcnemar` for what it can say.
    """

    difference: Difference
    p_holm: float | None
    word: str
    mcnemar: float | None = None

    @property
    def interval(self) -> Interval:
        """Mean and interval of the difference, in the unit of the values."""
        return self.difference.interval


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """`values` minus `reference`, both by seed, over the seeds of both; None if they share no seed."""
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    differences = [values[seed] - reference[seed] for seed in seeds]
    interval = mean_interval(differences)
    return Difference(interval, _p_of_mean_zero(differences, interval.mean))


def _p_of_mean_zero(differences: Sequence[float], mean: float) -> float | None:
    """Two-sided p of the one-sample t test; None without spread."""
    n = len(differences)
    squares = math.fsum((value - mean) ** 2 for value in differences)
    # accuracies are multiples of 1/images: equal differences leave rounding errors, not a spread
    if n < 2 or squares <= n * (1e-9 * max(1.0, abs(mean))) ** 2:
        return None
    from scipy.special import stdtr  # scipy.stats takes a second to import

    t = mean / math.sqrt(squares / (n - 1) / n)
    return float(2 * stdtr(n - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given (Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    Scandinavian Journal of Statistics 6, 1979): rejecting those below a keeps the family-wise error at a.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def judge(differences: Sequence[Difference | None], confidence: float = CONFIDENCE) -> list[Judgement | None]:
    """A judgement on each difference of one family, with Holm's correction over those that have a p.

    None stays None. A difference without p is undecided.
    """
    tested = {i: found.p for i, found in enumerate(differences) if found is not None and found.p is not None}
    adjusted = dict(zip(tested, holm([*tested.values()]), strict=True))
    return [
        None
        if found is None
        else Judgement(found, adjusted.get(i), _word(found.mean, adjusted.get(i), 1 - confidence))
        for i, found in enumerate(differences)
    ]


def _word(mean: float, p: float | None, level: float) -> str:
    if p is None or p >= level:
        return UNDECIDED
    return BETTER if mean > 0 else WORSE


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test ("Note on the Sampling Error of the Difference Between Correlated
    Proportions", Psychometrika 12, 1947) for two classifiers on one test set.

    Counts the images that only the first, and only the second, has right. It tells whether two trained
    networks differ beyond the choice of test images; it says nothing about other trainings of the same rows.
    """
    from scipy.special import bdtr

    images = only_first + only_second
    if images == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), images, 0.5)))
