"""Paired differences, Holm's correction and McNemar's test, against scipy.stats."""

import itertools

import numpy as np
import pytest
from scipy import stats

from longtail.reporting.comparisons import Difference, holm, judge, mcnemar, paired_difference
from longtail.reporting.intervals import Interval


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist(), start=1))


def words(differences: list[Difference | None]) -> list[str | None]:
    return [judged and judged.word for judged in judge(differences)]


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_interval_and_p_are_those_of_scipys_paired_t_test(seeds: int) -> None:
    draws = np.random.default_rng(seeds)
    ours, reference = draws.normal(70, 5, seeds), draws.normal(69, 5, seeds)
    expected = stats.ttest_rel(ours, reference)
    low, high = expected.confidence_interval(0.95)
    found = paired_difference(by_seed(ours), by_seed(reference))
    assert found is not None
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-12)
    assert found.mean == pytest.approx((ours - reference).mean(), rel=1e-12)


def test_what_varies_with_the_seed_cancels() -> None:
    reference = {1: 60.0, 2: 70.0, 3: 80.0}
    ours = {1: 60.9, 2: 71.1, 3: 81.0}
    found = paired_difference(ours, reference)
    assert found is not None
    assert found.interval.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3))
    assert words([found]) == ["better"]


def test_only_common_seeds_are_compared() -> None:
    found = paired_difference({1: 5.0, 2: 7.0, 9: 50.0}, {1: 4.0, 2: 5.0, 8: 0.0})
    assert found is not None
    assert (found.mean, found.interval.seeds) == (1.5, 2)
    assert paired_difference({1: 5.0}, {2: 5.0}) is None


@pytest.mark.parametrize("values", [{1: 3.0}, {1: 0.1 + 0.2, 2: 0.4, 3: 0.4}])
def test_without_spread_there_is_no_p_and_no_verdict(values: dict[int, float]) -> None:
    found = paired_difference(values, dict.fromkeys(values, 0.1) | {1: values[1] - 0.3})
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    assert found.p is None
    assert words([found]) == ["undecided"]


def test_holm_is_the_definition_and_keeps_the_order() -> None:
    p_values = [0.04, 0.01, 0.5, 0.011]
    # (m - rank) p, made monotone: 0.01*4, 0.011*3 -> 0.04, 0.04*2, 0.5*1
    assert holm(p_values) == pytest.approx([0.08, 0.04, 0.5, 0.04])
    assert holm([]) == []
    for order in itertools.permutations(range(4)):
        shuffled = holm([p_values[i] for i in order])
        assert shuffled == pytest.approx([holm(p_values)[i] for i in order])


def test_a_column_of_rows_needs_more_than_one_row_alone() -> None:
    once = Difference(Interval(1.0, 0.9, 3), p=0.03)
    none = Difference(Interval(-1.0, 9.0, 3), p=0.8)
    assert words([once]) == ["better"]
    assert words([once, none, None]) == ["undecided", "undecided", None]
    worse = Difference(Interval(-1.0, 0.1, 3), p=0.001)
    assert words([worse, None, none]) == ["worse", None, "undecided"]


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (5, 5), (12, 3), (40, 61)])
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    images = only_first + only_second
    expected = stats.binomtest(only_first, images, 0.5).pvalue if images else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-10)
    assert mcnemar(only_second, only_first) == mcnemar(only_first, only_second)
