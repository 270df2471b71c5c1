"""Selection depends on seed, stream and content only; sets are nested, disjoint and free of copies."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.data.selection import remaining, select
from longtail.errors import InputError

CLASSES = 3
# few contents, so that copies within a class and across classes are common
images = st.lists(st.tuples(st.integers(0, 25), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)
seeds = st.integers(0, 5)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    hashes = [hashlib.sha256(str(content).encode()).hexdigest() for content, _ in pairs]
    return np.array(hashes), np.array([label for _, label in pairs])


def drawn_counts(data: st.DataObject, labels: np.ndarray) -> list[int]:
    sizes = np.bincount(labels, minlength=CLASSES).tolist()
    return [data.draw(st.integers(0, size)) for size in sizes]


@settings(deadline=None)
@given(images, seeds, st.data())
def test_the_order_of_files_changes_nothing(pairs, seed: int, data: st.DataObject) -> None:
    hashes, labels = arrays(pairs)
    counts = drawn_counts(data, labels)
    shuffled = np.array(data.draw(st.permutations(range(len(pairs)))))
    one = select(hashes, labels, counts, seed=seed, stream="train")
    other = shuffled[select(hashes[shuffled], labels[shuffled], counts, seed=seed, stream="train")]
    # in order, too; identical images may stand for each other
    assert hashes[one].tolist() == hashes[other].tolist()
    assert labels[one].tolist() == labels[other].tolist()


@settings(deadline=None)
@given(images, seeds, st.data())
def test_each_class_gets_what_was_asked_for_and_no_row_twice(pairs, seed: int, data: st.DataObject) -> None:
    hashes, labels = arrays(pairs)
    counts = drawn_counts(data, labels)
    rows = select(hashes, labels, counts, seed=seed, stream="train")
    assert np.bincount(labels[rows], minlength=CLASSES).tolist() == counts
    assert len(set(rows.tolist())) == len(rows)


@settings(deadline=None)
@given(images, seeds, st.data())
def test_smaller_sets_lie_inside_larger_ones(pairs, seed: int, data: st.DataObject) -> None:
    hashes, labels = arrays(pairs)
    large = drawn_counts(data, labels)
    small = [data.draw(st.integers(0, count)) for count in large]
    inner = select(hashes, labels, small, seed=seed, stream="train")
    outer = select(hashes, labels, large, seed=seed, stream="train")
    assert set(inner.tolist()) <= set(outer.tolist())


@settings(deadline=None)
@given(images, seeds, st.data())
def test_no_content_is_in_two_sets_even_where_the_data_set_holds_copies(
    pairs, seed: int, data: st.DataObject
) -> None:
    hashes, labels = arrays(pairs)
    held_out = select(hashes, labels, drawn_counts(data, labels), seed=seed, stream="meta")
    rest = remaining(hashes, hashes[held_out])
    assert not set(hashes[held_out]) & set(hashes[rest])
    assert set(hashes[held_out]) | set(hashes[rest]) == set(hashes)


@settings(deadline=None)
@given(images, seeds)
def test_held_out_sets_take_copies_last(pairs, seed: int) -> None:
    hashes, labels = arrays(pairs)
    copies = Counter(hashes.tolist())
    single = np.array([copies[content] == 1 for content in hashes.tolist()])
    counts = np.bincount(labels[single], minlength=CLASSES).tolist()
    rows = select(hashes, labels, counts, seed=seed, stream="meta")
    assert single[rows].all()
    assert len(remaining(hashes, hashes[rows])) == len(hashes) - len(rows)  # nothing had to be left out


def test_seed_and_stream_each_decide_the_choice() -> None:
    hashes, labels = arrays([(content, 0) for content in range(100)])
    draws = [
        frozenset(select(hashes, labels, [50], seed=seed, stream=stream).tolist())
        for seed in (0, 1)
        for stream in ("test", "meta", "train")
    ]
    assert len(set(draws)) == 6


def test_the_choice_is_this_one_for_good() -> None:
    """The manifests of published results hang on it."""
    hashes, labels = arrays([(content, content % 2) for content in range(12)])
    key = [hashlib.sha256(f"0|train|{content}".encode()).hexdigest() for content in hashes]
    even, odd = sorted(range(0, 12, 2), key=key.__getitem__), sorted(range(1, 12, 2), key=key.__getitem__)
    rows = select(hashes, labels, [3, 2], seed=0, stream="train").tolist()
    assert rows == [*even[:3], *odd[:2]] == [0, 4, 10, 1, 3]


def test_a_class_with_too_few_images_is_named() -> None:
    hashes, labels = arrays([(0, 0), (1, 1), (2, 1)])
    with pytest.raises(InputError, match=r"class 0 .*: 2 images wanted for the meta set, 1 left"):
        select(hashes, labels, [2, 2], seed=0, stream="meta")
