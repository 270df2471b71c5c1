"""Manifests: nested, disjoint, the same bytes every time; anything that does not belong is refused."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.data.manifests import (
    Manifest,
    check_disjoint,
    draw_meta,
    draw_train,
    read_manifest,
    tail_rows,
    write_manifest,
)
from longtail.data.pools import Pool, draw_pool
from longtail.data.profiles import exponential_profile
from longtail.data.sources import Source
from longtail.errors import InputError
from longtail.parquet_files import HEADER

PER_CLASS, TEST, META = 40, 6, 4


def small_pool(values: list[int] | None = None, data_seed: int = 0) -> Pool:
    """Three classes; equal values are equal images."""
    values = values or list(range(3 * PER_CLASS))
    images = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    source = Source(images, np.arange(len(values)) % 3, ("cat", "dog", "owl"))
    return draw_pool(source, benchmark="small", data_seed=data_seed, test_per_class=TEST)


POOL = small_pool()


def train(pool: Pool, imbalance: float, meta_per_class: int = META) -> Manifest:
    left = np.bincount(pool.label[tail_rows(pool, meta_per_class)]).min()
    counts = exponential_profile(int(left), imbalance, 3)
    return draw_train(pool, imbalance, counts, meta_per_class)


TRAIN_SET, META_SET = train(POOL, 10), draw_meta(POOL, 10, META)


def test_a_training_set_has_the_profile_and_a_meta_set_is_balanced() -> None:
    assert train(POOL, 10).counts == [30, 9, 3]
    assert draw_meta(POOL, 10, META).counts == [META, META, META]


def test_a_higher_imbalance_lies_inside_a_lower_one_and_shares_its_meta_set() -> None:
    sets = [set(train(POOL, imbalance).hash) for imbalance in (20, 10, 2, 1)]
    assert all(inner < outer for inner, outer in pairwise(sets))
    metas = [draw_meta(POOL, imbalance, META) for imbalance in (20, 10)]
    assert metas[0].hash.tolist() == metas[1].hash.tolist()
    assert metas[0].fingerprint != metas[1].fingerprint


def test_a_larger_meta_set_changes_the_training_set_only_where_it_takes_its_images() -> None:
    counts = [20, 10, 5]
    before = set(draw_train(POOL, 4, counts, META).hash)
    after = set(draw_train(POOL, 4, counts, META + 3).hash)
    taken = set(draw_meta(POOL, 4, META + 3).hash)
    assert before - after == before & taken


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=60, max_size=90), st.integers(0, 3))
def test_train_meta_and_test_share_no_content_where_the_source_holds_copies(values, seed: int) -> None:
    try:
        pool = small_pool(values, seed)
        meta = draw_meta(pool, 2, META)
        training = train(pool, 2)
    except InputError:  # so many copies that a class is used up; refused, and that is right
        return
    check_disjoint(training.hash, meta.hash, pool.hash[pool.rows("test")])
    sides = [set(training.hash), set(meta.hash), set(pool.hash[pool.rows("test")])]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_another_order_of_files_gives_the_same_manifests() -> None:
    values = list(range(3 * PER_CLASS))
    images = np.array(values[::-1], np.uint8).reshape(-1, 1, 1, 1)
    source = Source(images, np.array(values[::-1]) % 3, ("cat", "dog", "owl"))
    pool = draw_pool(source, benchmark="small", data_seed=0, test_per_class=TEST)
    for backwards, forwards in [(train(pool, 10), TRAIN_SET), (draw_meta(pool, 10, META), META_SET)]:
        assert backwards.fingerprint == forwards.fingerprint
        assert backwards.hash.tolist() == forwards.hash.tolist()
        assert backwards.image.tolist() == (len(values) - 1 - forwards.image).tolist()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "train.parquet", TRAIN_SET)
    return tmp_path / "train.parquet"


def test_a_written_manifest_reads_back_the_same(stored: Path) -> None:
    back = read_manifest(stored, "train", POOL, 10)
    assert back.header() == TRAIN_SET.header()
    assert back.fingerprint == TRAIN_SET.fingerprint
    for name in ("image", "label", "hash"):
        assert getattr(back, name).tolist() == getattr(TRAIN_SET, name).tolist()


def test_the_same_manifest_is_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "again.parquet", train(small_pool(), 10.0))
    assert (tmp_path / "again.parquet").read_bytes() == stored.read_bytes()


def edited(path: Path, column: str, values: list[Any]) -> None:
    """Change the last values of a column, and leave what the file says about itself."""
    table = pq.read_table(path)
    field = table.schema.field(column)
    changed = [*table.column(column).to_pylist()[: -len(values)], *values]
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, field, pa.array(changed, field.type)), path)


def rewritten(**changes: Any) -> Callable[[Path], None]:
    """A sound manifest that says something else."""
    return lambda path: write_manifest(path, replace(TRAIN_SET, **changes))


def relabelled(path: Path, metadata: bytes) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata({HEADER: metadata}), path)


def other_image(path: Path) -> None:
    edited(path, "image", [int(META_SET.image[0])])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not parquet, or truncated"),
    "wrong columns": (
        lambda path: pq.write_table(pq.read_table(path).drop_columns(["hash"]), path),
        "columns image int64, label int64, expected image int64, label int64, hash string",
    ),
    "a meta set": (lambda path: write_manifest(path, META_SET), "a meta table, expected a train table"),
    "poor metadata": (
        lambda path: relabelled(path, b'{"kind": "train", "benchmark": "small", "imbalance": "ten"}'),
        "its metadata is not that of a manifest",
    ),
    "label too high": (lambda path: edited(path, "label", [3]), "label 3, expected 0 to 2"),
    "label below 0": (lambda path: edited(path, "label", [-1]), "label -1, expected 0 to 2"),
    "class without an image": (lambda path: edited(path, "label", [1, 1, 1]), "class 2 ('owl') has no image"),
    "another image": (lambda path: edited(path, "hash", ["0" * 64]), "fingerprint"),
    "another place": (other_image, "1 images are not in the source of the pool"),
    "another pool": (
        rewritten(pool="f" * 64),
        f"belongs to pool ffffffffffff, expected {POOL.fingerprint[:12]}",
    ),
    "another imbalance": (rewritten(imbalance=50), "imbalance 50, expected 10"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_does_not_belong_is_refused_with_file_fault_and_remedy(
    stored: Path, damage: str
) -> None:
    DAMAGES[damage][0](stored)
    with pytest.raises(InputError) as refused:
        read_manifest(stored, "train", POOL, 10)
    message = str(refused.value)
    assert message.startswith(f"{stored}: ")
    assert DAMAGES[damage][1] in message
    assert "\n" not in message


def test_a_manifest_of_another_data_seed_is_refused(stored: Path) -> None:
    with pytest.raises(InputError, match="belongs to pool"):
        read_manifest(stored, "train", small_pool(data_seed=1), 10)


def test_shared_images_are_counted_and_shown() -> None:
    one, two, three = (np.array([f"{n:064x}" for n in numbers]) for numbers in ([1, 2], [3, 4], [5, 6]))
    check_disjoint(one, two, three)
    with pytest.raises(InputError, match=r"training and meta set: 1 images .*: 000000000000"):
        check_disjoint(one, np.append(two, one[0]), three)
    with pytest.raises(InputError, match="training and test set: 2 images"):
        check_disjoint(one, two, np.append(three, one))
    with pytest.raises(InputError, match="meta and test set: 1 images"):
        check_disjoint(one, two, np.append(three, two[1]))


def test_only_duplicates_that_were_kept_may_be_in_the_test_set() -> None:
    one, two, three = (np.array([f"{n:064x}" for n in numbers]) for numbers in ([1, 2], [3, 4], [1, 4, 5]))
    check_disjoint(one, two, three, [one[0], two[1]])
    with pytest.raises(InputError, match="training and test set: 1 images"):
        check_disjoint(one, two, three, [two[1]])
    with pytest.raises(InputError, match="meta and test set: 1 images"):
        check_disjoint(one, two, three, [one[0]])
    with pytest.raises(InputError, match="training and meta set: 1 images"):
        check_disjoint(one, np.append(two, one[0]), three, [one[0], two[1]])


def test_the_order_of_files_draws_the_last_for_the_meta_set_and_the_first_for_training() -> None:
    """The authors' protocol, against a plain loop; a copy of a held-out image is passed over."""
    draws = np.random.default_rng(3)
    values = draws.permutation(120)
    label = draws.integers(0, 3, 120)
    test = draws.permutation(120) < 30
    rows = [np.flatnonzero((label == c) & ~test) for c in range(3)]
    values[rows[0][0]] = values[rows[0][-1]]
    source = Source(values.astype(np.uint8).reshape(-1, 1, 1, 1), label, ("cat", "dog", "owl"), test, True)
    pool = draw_pool(source, benchmark="small", data_seed=0, test_per_class=None, drawn_by="file_order")
    counts = [9, 5, 2]
    meta, training = draw_meta(pool, 10, META), draw_train(pool, 10, counts, META)
    for c in range(3):
        first = rows[c][1:] if c == 0 else rows[c]
        assert sorted(meta.image[meta.label == c]) == rows[c][-META:].tolist()
        assert sorted(training.image[training.label == c]) == first[: counts[c]].tolist()
    check_disjoint(training.hash, meta.hash, pool.hash[pool.rows("test")])
    with pytest.raises(InputError, match=r"class 2 .*images wanted for the train set"):
        draw_train(pool, 10, [9, 5, 60], META)


def test_more_images_than_the_pool_has_are_refused() -> None:
    with pytest.raises(InputError, match=r"class 0 .*: 31 images wanted for the train set, 30 left"):
        draw_train(POOL, 1, [31, 1, 1], META)
