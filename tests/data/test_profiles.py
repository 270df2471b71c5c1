"""Profiles and shot groups: exact counts, published counts, clear refusals."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.config.benchmarks import ShotThresholds
from longtail.data.profiles import exponential_profile
from longtail.errors import InputError
from longtail.reporting.accuracy import shot_groups

THRESHOLDS = ShotThresholds(many_above=100, few_below=20)

CIFAR100_LT = {  # n_max: (all images, n_min) at the imbalances 200, 100, 50, 20, 10
    475: [(9022, 2), (10302, 4), (11975, 9), (15111, 23), (18591, 47)],
    490: [(9304, 2), (10626, 4), (12354, 9), (15594, 24), (19183, 49)],
    500: [(9502, 2), (10847, 5), (12608, 10), (15907, 25), (19573, 50)],
}


@pytest.mark.parametrize("n_max", CIFAR100_LT)
def test_cifar100_lt_has_its_published_sizes(n_max: int) -> None:
    profiles = [exponential_profile(n_max, imbalance, 100) for imbalance in (200, 100, 50, 20, 10)]
    assert [(sum(counts), counts[-1]) for counts in profiles] == CIFAR100_LT[n_max]


def test_digits_lt_has_these_counts() -> None:
    assert exponential_profile(114, 50, 10) == [114, 73, 47, 30, 20, 12, 8, 5, 3, 2]
    assert exponential_profile(114, 10, 10) == [114, 88, 68, 52, 40, 31, 24, 19, 14, 11]


decimals = st.integers(10, 20_000).map(lambda tenths: tenths / 10)


@settings(deadline=None)
@given(n_max=st.integers(1, 5000), imbalance=decimals, classes=st.integers(2, 60))
def test_every_count_is_the_truncation_of_the_exact_value(n_max: int, imbalance: float, classes: int) -> None:
    if imbalance > n_max:
        return
    ratio, last = Fraction(str(imbalance)), classes - 1
    for c, count in enumerate(exponential_profile(n_max, imbalance, classes)):
        # count <= n_max R^(-c/last) < count + 1, raised to the power of `last`
        assert count**last * ratio**c <= n_max**last < (count + 1) ** last * ratio**c


@settings(deadline=None)
@given(n_min=st.integers(1, 200), imbalance=st.integers(1, 500), classes=st.integers(2, 50))
def test_the_last_class_keeps_n_max_over_r_where_that_is_whole(
    n_min: int, imbalance: int, classes: int
) -> None:
    counts = exponential_profile(n_min * imbalance, imbalance, classes)
    assert counts[0] == n_min * imbalance
    assert counts[-1] == n_min
    assert counts == sorted(counts, reverse=True)


def test_whole_values_survive_where_floats_lose_them() -> None:
    assert int(49 * 49**-1.0) == 0  # the trap: the plain formula leaves the last class empty
    assert exponential_profile(49, 49, 2) == [49, 1]
    assert exponential_profile(1024, 1024, 11) == [2**power for power in range(10, -1, -1)]
    # 1.1 as a person means it: the float of that name is a little more, and 11 / 1.1 a little less than 10
    assert Fraction(11) / Fraction(1.1) < 10
    assert exponential_profile(11, 1.1, 2) == [11, 10]


def test_a_count_from_numpy_does_not_overflow() -> None:
    n_max = np.array([100])[0]
    assert exponential_profile(n_max, 10, 100) == exponential_profile(100, 10, 100)


def test_without_imbalance_every_class_keeps_n_max() -> None:
    assert exponential_profile(7, 1, 4) == [7, 7, 7, 7]
    assert exponential_profile(7, 3, 1) == [7]


@settings(deadline=None)
@given(n_max=st.integers(1, 1000), classes=st.integers(2, 30))
def test_the_largest_imbalance_that_works_is_the_one_the_error_names(n_max: int, classes: int) -> None:
    with pytest.raises(InputError, match="would have no image") as refused:
        exponential_profile(n_max, n_max + 0.5, classes)
    named = str(refused.value).rsplit(maxsplit=1)[-1]
    assert exponential_profile(n_max, float(named), classes)[-1] == 1


def test_a_class_without_an_image_is_named() -> None:
    with pytest.raises(InputError) as refused:
        exponential_profile(114, 1000, 10)
    assert str(refused.value) == (
        "imbalance 1000: class 7 (of 10, counted from 0) would have no image at n_max 114; "
        "the largest imbalance that works is 114"
    )


@pytest.mark.parametrize("imbalance", [0.999, 0, -5, float("nan"), float("inf")])
def test_an_imbalance_below_1_or_without_end_is_refused(imbalance: float) -> None:
    with pytest.raises(InputError, match=rf"imbalance {imbalance:g}: .*1 or more"):
        exponential_profile(100, imbalance, 10)


def test_n_max_below_1_is_refused() -> None:
    with pytest.raises(InputError, match="n_max 0"):
        exponential_profile(0, 1, 10)


def test_bounds_of_shot_groups_follow_each_convention() -> None:
    counts = [101, 100, 21, 20, 19]
    assert shot_groups(counts, THRESHOLDS, "kang") == {"many": [0], "medium": [1, 2, 3], "few": [4]}
    assert shot_groups(counts, THRESHOLDS, "mislas") == {"many": [0], "medium": [1, 2], "few": [3, 4]}


def test_the_ranges_of_mislas_are_of_100_classes_and_read_no_count() -> None:
    groups = shot_groups([3] * 100, THRESHOLDS, "mislas_ranges")
    assert groups == {"many": [*range(36)], "medium": [*range(36, 71)], "few": [*range(71, 100)]}
    with pytest.raises(ValueError, match="100 classes, not of 10"):
        shot_groups([3] * 10, THRESHOLDS, "mislas_ranges")


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 200)), convention=st.sampled_from(["kang", "mislas"]))
def test_every_class_is_in_one_shot_group(counts: list[int], convention) -> None:
    groups = shot_groups(counts, THRESHOLDS, convention)
    assert list(groups) == ["many", "medium", "few"]
    assert sorted(label for group in groups.values() for label in group) == list(range(len(counts)))


def test_without_a_tail_the_few_group_is_empty() -> None:
    assert shot_groups([200, 50], THRESHOLDS, "kang")["few"] == []
