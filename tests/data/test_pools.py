"""Pools: whole or refused, the same bytes every time, the same fingerprint whatever the order of files."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.data.pools import Pool, arranged, draw_pool, read_images, read_pool, write_pool
from longtail.data.source import image_hash
from longtail.data.sources import Source
from longtail.errors import InputError
from longtail.parquet_files import HEADER


def source(values: list[int], labels: list[int]) -> Source:
    """Images of 2x3 pixels and one channel; equal values are equal images."""
    images = np.array(values, np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 3, 1), np.uint8)
    return Source(images, np.array(labels), ("cat", "dog", "owl"))


def drawn(given: Source | None = None, test_per_class: int = 2, data_seed: int = 0) -> Pool:
    given = given or source(list(range(30)), [value % 3 for value in range(30)])
    return draw_pool(given, benchmark="small", data_seed=data_seed, test_per_class=test_per_class)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_pool(tmp_path / "pool.parquet", drawn())
    return tmp_path / "pool.parquet"


def test_an_image_hash_is_that_of_type_shape_and_bytes() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert image_hash(image) == hashlib.sha256(b"uint8|8,8,1|" + bytes(range(64))).hexdigest()
    assert image_hash(image) == image_hash(np.asfortranarray(image))
    assert len({image_hash(image), image_hash(image.reshape(4, 16, 1)), image_hash(image.view(np.int8))}) == 3


def test_the_test_split_has_its_images_of_every_class_and_the_rest_is_the_source() -> None:
    pool = drawn()
    assert np.bincount(pool.label[pool.rows("test")]).tolist() == [2, 2, 2]
    assert np.bincount(pool.label[pool.rows("source")]).tolist() == [8, 8, 8]
    assert sorted(pool.image.tolist()) == list(range(30))
    assert np.lexsort((pool.image, pool.hash, pool.label)).tolist() == list(range(30))


def test_another_data_seed_picks_other_test_images() -> None:
    one, other = drawn(), drawn(data_seed=1)
    assert set(one.hash[one.rows("test")]) != set(other.hash[other.rows("test")])
    assert one.fingerprint != other.fingerprint


def test_another_order_of_files_gives_the_same_pool() -> None:
    values = list(range(30))
    backwards = drawn(source(values[::-1], [value % 3 for value in values[::-1]]))
    forwards = drawn()
    assert backwards.fingerprint == forwards.fingerprint
    assert backwards.hash.tolist() == forwards.hash.tolist()
    assert backwards.image.tolist() == (29 - forwards.image).tolist()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=20, max_size=40), st.integers(0, 3)
)
def test_no_content_is_in_both_splits_where_the_source_holds_copies(pairs, seed: int) -> None:
    labels = [label for _, label in pairs]
    per_class = min(2, *(labels.count(label) for label in range(3)))
    pool = drawn(source([value for value, _ in pairs], labels), per_class, seed)
    assert not set(pool.hash[pool.rows("source")]) & set(pool.hash[pool.rows("test")])
    assert len(pool.rows("test")) == 3 * per_class


def test_copies_of_test_images_are_left_out_when_a_class_has_nothing_else() -> None:
    pool = drawn(source([7, 7, 7, 7, 1, 2, 3, 4], [0, 0, 0, 1, 1, 1, 2, 2]), 1)
    assert len(pool.image) == 8 - 3  # the other two of class 0, and the one that is also called class 1
    assert np.bincount(pool.label[pool.rows("test")]).tolist() == [1, 1, 1]


def official(duplicates: Any = "exclude") -> Pool:
    """Rows 6 to 8 are the test part; 0 and 1 are the same as 6, 4 as 7, which is of another class."""
    given = source([9, 9, 2, 3, 8, 5, 9, 8, 7], [0, 0, 1, 2, 1, 2, 0, 2, 1])
    given = replace(given, test=np.arange(9) > 5)
    return draw_pool(given, benchmark="small", data_seed=0, test_per_class=None, duplicates=duplicates)


def test_an_official_test_part_is_the_test_set() -> None:
    pool = official()
    assert sorted(pool.image[pool.rows("test")].tolist()) == [6, 7, 8]
    assert sorted(pool.image[pool.rows("source")].tolist()) == [2, 3, 5]
    assert pool.shared.tolist() == []


def test_images_that_are_test_images_too_can_be_kept(tmp_path: Path) -> None:
    pool = official("keep")
    assert sorted(pool.image[pool.rows("source")].tolist()) == [0, 1, 2, 3, 4, 5]
    assert set(pool.shared.tolist()) == {*pool.hash[np.isin(pool.image, [6, 7])].tolist()}
    assert np.lexsort((pool.image, pool.split, pool.hash, pool.label)).tolist() == list(range(9))
    write_pool(tmp_path / "pool.parquet", pool)
    back = read_pool(tmp_path / "pool.parquet")
    assert (back.duplicates, back.test_per_class) == ("keep", None)
    assert back.fingerprint == pool.fingerprint != official().fingerprint


def test_a_test_set_is_drawn_where_there_is_none_and_only_there() -> None:
    given = source([1, 2, 3], [0, 1, 2])
    for wrong, test_per_class in ((given, None), (replace(given, test=np.ones(3, bool)), 1)):
        with pytest.raises(ValueError, match="only there"):
            draw_pool(wrong, benchmark="small", data_seed=0, test_per_class=test_per_class)


@pytest.mark.parametrize("duplicates", ["exclude", "keep"])
def test_what_is_stored_is_the_same_whatever_the_order_of_files(tmp_path: Path, duplicates: Any) -> None:
    values, labels = [9, 9, 2, 3, 8, 5, 9, 8, 7] * 2, [0, 0, 1, 2, 1, 2, 0, 2, 1] * 2
    given = replace(source(values, labels), test=np.arange(18) > 11)
    stored = []
    for order in (np.arange(18), np.random.default_rng(1).permutation(18)):
        turned = Source(given.images[order], given.label[order], given.class_names, order > 11)
        drawn_pool = draw_pool(
            turned, benchmark="small", data_seed=0, test_per_class=None, duplicates=duplicates
        )
        pool, images = arranged(drawn_pool, turned.images)
        assert [image_hash(image) for image in images] == pool.hash.tolist()
        write_pool(tmp_path / "pool.parquet", pool)
        np.save(tmp_path / "images.npy", images)
        assert np.array_equal(read_images(tmp_path / "images.npy", pool), images)
        stored.append([(tmp_path / name).read_bytes() for name in ("pool.parquet", "images.npy")])
    assert stored[0] == stored[1]


def test_images_stay_in_the_order_of_the_files_where_that_decides() -> None:
    given = source(list(range(30)), [value % 3 for value in range(30)])
    pool = draw_pool(given, benchmark="small", data_seed=0, test_per_class=2, drawn_by="file_order")
    stored, images = arranged(pool, given.images)
    assert stored.image.tolist() == pool.image.tolist()
    assert np.array_equal(images, given.images)
    assert pool.fingerprint != drawn(given).fingerprint


def test_a_class_too_small_for_the_test_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"class 2 .*2 images wanted for the test set, 1 left"):
        drawn(source([1, 2, 3, 4, 5], [0, 0, 1, 1, 2]))


def test_a_written_pool_reads_back_the_same(stored: Path) -> None:
    pool, back = drawn(), read_pool(stored)
    assert back.header() == pool.header()
    assert back.fingerprint == pool.fingerprint
    for name in ("image", "label", "split", "hash"):
        assert getattr(back, name).tolist() == getattr(pool, name).tolist()
        assert getattr(back, name).dtype == getattr(pool, name).dtype


def test_the_same_pool_is_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    write_pool(tmp_path / "again.parquet", read_pool(stored))
    assert (tmp_path / "again.parquet").read_bytes() == stored.read_bytes()


def edited(path: Path, column: str, row: int, value: Any) -> None:
    """Change one value of a table, and leave what it says about itself."""
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)


def relabelled(path: Path, metadata: dict[bytes, bytes] | None) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(path: Path, column: str) -> None:
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "truncated": (halved, "not parquet, or truncated"),
    "empty": (lambda path: path.write_bytes(b""), "not parquet, or truncated"),
    "another format": (lambda path: path.write_text("image,label\n" * 9), "not parquet, or truncated"),
    "a column gone": (lambda path: without(path, "split"), "columns image int64, label int64, hash string"),
    "no metadata": (lambda path: relabelled(path, None), "does not say what it is"),
    "odd metadata": (lambda path: relabelled(path, {HEADER: b"[]"}), "does not say what it is"),
    "poor metadata": (
        lambda path: relabelled(path, {HEADER: b'{"kind": "pool"}'}),
        "its metadata is not that of a pool",
    ),
    "a manifest": (
        lambda path: relabelled(path, {HEADER: b'{"kind": "meta"}'}),
        "a meta table, expected a pool table",
    ),
    "no value": (lambda path: edited(path, "label", 3, None), "rows without a value for label"),
    "label too high": (lambda path: edited(path, "label", 3, 3), "label 3, expected 0 to 2"),
    "label below 0": (lambda path: edited(path, "label", 3, -1), "label -1, expected 0 to 2"),
    "odd split": (lambda path: edited(path, "split", 3, "validation"), "split 'validation'"),
    "another image": (lambda path: edited(path, "hash", 3, "0" * 64), "fingerprint"),
    "another split": (lambda path: edited(path, "split", 0, "test"), "fingerprint"),
    "an image below 0": (lambda path: edited(path, "image", 0, -1), "an image below 0 or twice"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pool_is_refused_with_file_fault_and_remedy(stored: Path, damage: str) -> None:
    if damage == "another split":
        assert read_pool(stored).split[0] == "source"
    DAMAGES[damage][0](stored)
    with pytest.raises(InputError) as refused:
        read_pool(stored)
    message = str(refused.value)
    assert message.startswith(f"{stored}: ")
    assert DAMAGES[damage][1] in message
    assert "\n" not in message


def test_a_pool_with_an_image_on_both_sides_is_refused(tmp_path: Path) -> None:
    pool = drawn()
    test, train = pool.rows("test")[0], pool.rows("source")[0]
    contents = pool.hash.copy()
    contents[train] = contents[test]
    write_pool(tmp_path / "pool.parquet", replace(pool, hash=contents))
    with pytest.raises(InputError, match="1 images are in source and test"):
        read_pool(tmp_path / "pool.parquet")


def test_a_failing_write_leaves_the_old_pool(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(table: pa.Table, path: Path) -> None:
        path.write_bytes(b"PAR1")
        raise OSError("no space left")

    before = stored.read_bytes()
    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_pool(stored, drawn(data_seed=1))
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == ["pool.parquet"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", source(list(range(30)), [0] * 30).images)
    return tmp_path / "images.npy"


def test_images_read_back(images: Path) -> None:
    assert read_images(images, drawn())[:, 1, 2, 0].tolist() == list(range(30))


def resaved(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path)))


IMAGE_DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "truncated": (halved, "not an array, or a truncated one"),
    "pickled": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "not an array"),
    "too few": (resaved(lambda array: array[:29]), "expected uint8 of 2x3x1, 30 images or more"),
    "another shape": (resaved(lambda array: array.reshape(30, 3, 2, 1)), "uint8 (30, 3, 2, 1), expected"),
    "another type": (resaved(lambda array: array.astype(np.float32)), "float32 (30, 2, 3, 1), expected"),
    "a number": (resaved(lambda array: array[0, 0, 0, 0]), "uint8 (), expected"),
    "another order": (resaved(lambda array: array[::-1]), "30 of 30 images are not those of the pool"),
}


@pytest.mark.parametrize("damage", IMAGE_DAMAGES)
def test_images_that_are_not_those_of_the_pool_are_refused(images: Path, damage: str) -> None:
    IMAGE_DAMAGES[damage][0](images)
    with pytest.raises(InputError) as refused:
        read_images(images, drawn())
    message = str(refused.value)
    assert message.startswith(f"{images}: ")
    assert IMAGE_DAMAGES[damage][1] in message
    assert "\n" not in message
