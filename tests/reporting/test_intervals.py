import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.reporting.intervals import mean_interval


def test_interval_is_that_of_a_printed_t_table():
    # t(0.975; 2) = 4.302653, s = 1, n = 3
    found = mean_interval([1, 2, 3])
    assert (found.mean, found.seeds) == (2, 3)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), rel=1e-5)


@settings(deadline=None)  # the first example imports scipy
@given(st.lists(st.floats(0, 100), min_size=2, max_size=12))
def test_interval_equals_scipys(values):
    from scipy import stats

    found = mean_interval(values)
    assert found.half_width is not None
    half_width = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert found.half_width == pytest.approx(half_width, rel=1e-9, abs=1e-9)


def test_one_seed_has_a_mean_and_no_interval():
    found = mean_interval([84.5])
    assert (found.mean, found.low, found.high, found.seeds) == (84.5, None, None, 1)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ValueError, match=r"no values|not finite"):
        mean_interval(values)
