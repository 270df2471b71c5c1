"""Means over seeds and their confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
FEW_SEEDS = 10
"""Up to so many seeds are drawn one by one; of more, an interval, a band or their mean."""


@dataclass(frozen=True)
class Interval:
    """A mean over `seeds` values, with `half_width` of its two-sided interval; None for a single value."""

    mean: float
    half_width: float | None
    seeds: int

    @property
    def low(self) -> float | None:
        """Lower end."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end."""
        return None if self.half_width is None else self.mean + self.half_width


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean of `values` and its Student t interval: mean ± t(n-1) s/√n, s with n-1 degrees of freedom.

    One value has no interval. Raises ValueError on no value, or one that is not finite.
    """
    if not values:
        raise ValueError("no values")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"not finite: {list(values)}")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second to import

    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    quantile = float(stdtrit(n - 1, 0.5 + confidence / 2))
    return Interval(mean, quantile * math.sqrt(variance / n), n)
