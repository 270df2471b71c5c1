"""Sources: the same images from every layout, and nothing that is not what was published."""

import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from longtail.data.pools import draw_pool
from longtail.data.source import image_hash
from longtail.data.sources import SOURCES, Source, cifar
from longtail.data.sources.cifar import CIFAR10, CIFAR100, Cifar
from longtail.data.sources.original import unpickled
from longtail.errors import InputError
from tests.support.cifar_files import (
    PER_CLASS,
    SMALL10,
    SMALL100,
    made_up,
    png,
    python2_pickle,
    write_original,
)
from tests.support.cifar_files import write_parquet as write_parquet_files

REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar100"


def read(source: Cifar, path: Path | str, downloads: Path = Path("nowhere")) -> Source:
    return source.read(str(path), downloads, lambda _: None)


def refusal(source: Cifar, path: Path | str, downloads: Path = Path("nowhere")) -> str:
    with pytest.raises(InputError) as refused:
        read(source, path, downloads)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_digits_keep_all_their_values_and_images(tmp_path: Path) -> None:
    reader, original = SOURCES["digits"], load_digits(return_X_y=True)
    digits = reader.read(None, tmp_path, lambda _: None)
    assert digits.images.shape == (reader.size, 8, 8, 1) == (1797, 8, 8, 1)
    assert digits.images.dtype == np.uint8
    assert digits.class_names == tuple("0123456789")
    assert digits.test is None
    pairs = set(zip(original[0].ravel().tolist(), digits.images.ravel().tolist(), strict=True))
    assert len(pairs) == 17  # one to one: 0..16 onto 17 values
    assert (min(pairs), max(pairs)) == ((0, 0), (16, 255))
    assert digits.label.tolist() == original[1].tolist()


@pytest.mark.parametrize("own", [CIFAR10, CIFAR100], ids=lambda own: own.name)
def test_files_and_checksums_are_those_that_torchvision_publishes(own: Cifar) -> None:
    from torchvision import datasets

    theirs = {"CIFAR-10": datasets.CIFAR10, "CIFAR-100": datasets.CIFAR100}[own.name]
    assert (own.url, own.archive, own.md5) == (theirs.url, theirs.filename, theirs.tgz_md5)
    assert own.folder == theirs.base_folder
    assert [list(pair) for pair in own.files["train"].items()] == theirs.train_list
    assert [list(pair) for pair in own.files["test"].items()] == theirs.test_list


@pytest.fixture
def original(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Cifar, Path]:
    """A small data set in the original files, archive and folder, and its checksums."""
    return write_original(tmp_path, getattr(request, "param", SMALL100)), tmp_path


BOTH = pytest.mark.parametrize("original", [SMALL10, SMALL100], ids=["CIFAR-10", "CIFAR-100"], indirect=True)


@BOTH
def test_the_original_files_give_their_images_in_their_order(original: tuple[Cifar, Path]) -> None:
    source, folder = original
    parts = [made_up(part) for part in ("train", "test")]
    for path in (folder, folder / source.folder, folder / source.archive):
        found = read(source, path)
        assert np.array_equal(found.images, np.concatenate([images for images, _ in parts]))
        assert found.label.tolist() == [*parts[0][1], *parts[1][1]]
        assert found.test is not None
        assert found.test.tolist() == [False] * 36 + [True] * 12
        assert (found.in_file_order, found.class_names) == (True, source.class_names)


def test_an_archive_is_read_where_only_the_archive_is(original: tuple[Cifar, Path]) -> None:
    source, folder = original
    alone = folder / "alone"
    alone.mkdir()
    (folder / source.archive).rename(alone / source.archive)
    assert len(read(source, alone).images) == 48


@BOTH
def test_parquet_files_give_the_same_images_in_an_order_of_their_own(original: tuple[Cifar, Path]) -> None:
    source, folder = original
    write_parquet_files(folder / "parquet", source.parquet_label)
    one, other = read(source, folder / source.folder), read(source, folder / "parquet")
    assert not other.in_file_order
    assert (other.images != one.images).any()
    rows = [
        sorted((image_hash(image), label, test) for image, label, test in zip(*columns, strict=True))
        for columns in (
            (s.images, s.label.tolist(), s.test.tolist()) for s in (one, other) if s.test is not None
        )
    ]
    assert rows[0] == rows[1]


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    write_parquet_files(tmp_path, "fine_label")
    reached: list[int] = []
    SMALL100.read(str(tmp_path), tmp_path, reached.append)
    assert reached == [18, 36, 42, 48]
    assert reached[-1] == SMALL100.size


def spoil(path: Path, at: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [spoil, halve, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("file", ["archive", "train", "test"])
def test_nothing_is_unpickled_before_its_checksum_is_right(
    original: tuple[Cifar, Path], monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], Any], file: str
) -> None:
    source, folder = original
    opened: list[int] = []
    monkeypatch.setattr(cifar, "unpickled", lambda content: opened.append(1) or unpickled(content))
    monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("an archive was opened"))
    path = folder / source.archive if file == "archive" else folder / source.folder / file
    damage(path)
    message = refusal(source, path if file == "archive" else folder)
    assert message.startswith(f"{path}: MD5 ")
    assert f"fetch {source.archive} again (https://" in message
    assert len(opened) == (file == "test")  # the file before it was sound


class Command:
    """What a pickle may do when it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


@pytest.mark.parametrize("content", [pickle.dumps(Command()), pickle.dumps(print), pickle.dumps(Path("x"))])
def test_a_pickle_can_hold_nothing_but_data(content: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is not part of an array"):
        unpickled(content)


def test_a_pickle_of_the_original_kind_is_read() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = unpickled(python2_pickle({"data": array, "labels": [1, -2], "batch_label": "first"}))
    assert found["data"].tolist() == array.tolist()
    assert (found["labels"], found["batch_label"]) == ([1, -2], "first")


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = pq.read_table(path).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), path)


def image_of(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"bytes": png(np.zeros(shape, np.uint8)), "path": "x.png"}


def row3(**changes: Any) -> Callable[[Path], None]:
    """Changes to one row."""
    return lambda path: rewrite(path, lambda rows: rows[3].update(changes))


def zeroed(path: Path) -> None:
    """As large as before, its columns gone."""
    path.write_bytes(b"PAR1" + b"\0" * 9000 + path.read_bytes()[9004:])


def without_test_part(path: Path) -> None:
    for file in path.parent.glob("test-*"):
        file.unlink()


def another_class(path: Path) -> None:
    rewrite(path, lambda rows: rows[-1].update(fine_label=2))


def without_labels(path: Path) -> None:
    rewrite(path, lambda rows: [row.pop("fine_label") for row in rows])


FIRST = "train-00000-of-00002.parquet"
PARQUET_DAMAGES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "truncated": (halve, FIRST, "not parquet, or truncated"),
    "empty": (lambda path: path.write_bytes(b""), FIRST, "not parquet, or truncated"),
    "damaged inside": (zeroed, FIRST, "damaged after row 0"),
    "a shard is missing": (Path.unlink, "train-*.parquet", "18 images in 1 files, expected 36"),
    "no test part": (without_test_part, "test-*.parquet", "0 images in 0 files, expected 12"),
    "other columns": (without_labels, FIRST, "columns img struct<bytes: binary, path: string>, expected"),
    "no image": (row3(img={"bytes": None, "path": "x"}), FIRST, "row 3: no image"),
    "no label": (row3(fine_label=None), FIRST, "rows without a fine_label"),
    "text for an image": (row3(img={"bytes": b"image", "path": "x"}), FIRST, "row 3: not a PNG image"),
    "half an image": (
        row3(img={"bytes": png(made_up("test")[0][0])[:900], "path": "x"}),
        FIRST,
        "row 3: not a PNG image, or a truncated one",
    ),
    "a larger image": (
        row3(img=image_of((64, 64, 3))),
        FIRST,
        "row 3: an image RGB 64x64, expected RGB 32x32",
    ),
    "a grey image": (row3(img=image_of((32, 32))), FIRST, "row 3: an image L 32x32, expected RGB 32x32"),
    "label too high": (row3(fine_label=3), "", "label 3 among the training images, expected 0 to 2"),
    "a class short": (another_class, "", "11 training images of class 1 ('dog'), expected 12"),
}


@pytest.mark.parametrize("damage", PARQUET_DAMAGES)
def test_a_damaged_parquet_file_is_named_with_fault_and_remedy(tmp_path: Path, damage: str) -> None:
    write_parquet_files(tmp_path, "fine_label")
    spoiling, named, expected = PARQUET_DAMAGES[damage]
    spoiling(tmp_path / FIRST)
    message = refusal(SMALL100, tmp_path)
    assert message.startswith(f"{tmp_path / named}: ")
    assert expected in message
    assert "; fetch the file again" in message or "; put all files" in message or "; give " in message


def test_the_files_of_the_other_data_set_are_refused(tmp_path: Path) -> None:
    write_parquet_files(tmp_path, "label")
    assert "expected img struct<bytes: binary, ...> and fine_label int64" in refusal(SMALL100, tmp_path)


def test_what_is_not_there_is_named_with_all_that_would_do(
    tmp_path: Path, original: tuple[Cifar, Path]
) -> None:
    (tmp_path / "empty").mkdir()
    for path, fault in ((tmp_path / "empty", "holds no CIFAR-100"), (tmp_path / "none", "no such file")):
        message = refusal(CIFAR100, path)
        assert message.startswith(f"{path}: {fault}")
        assert message.endswith(
            "give the original cifar-100-python.tar.gz, the folder cifar-100-python that it unpacks to, "
            "or a folder with train-*.parquet and test-*.parquet"
        )
    source, folder = original
    (folder / source.folder / "test").unlink()
    assert refusal(source, folder).startswith(f"{folder / source.folder / 'test'}: no such file; unpack ")


@pytest.fixture
def remote(
    original: tuple[Cifar, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Cifar, Path]:
    """A data set whose archive lies somewhere else, a copy standing for the network."""
    from torchvision.datasets import utils

    source, folder = original
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    archive = (folder / source.archive).rename(elsewhere / source.archive)
    monkeypatch.setattr(
        utils, "_urlretrieve", lambda url, path, *_: shutil.copy(unquote(urlparse(url).path), path)
    )
    return replace(source, url=archive.as_uri()), archive


def test_a_download_is_checked_and_kept(remote: tuple[Cifar, Path], tmp_path: Path) -> None:
    source, archive = remote
    downloads = tmp_path / "data" / "downloads"
    assert len(read(source, "download", downloads).images) == 48
    archive.unlink()
    assert len(read(source, "download", downloads).images) == 48
    halve(downloads / source.archive)
    message = refusal(source, "download", downloads)
    assert message.startswith(f"{source.url}: could not be fetched into {downloads} (")
    assert "; try again, or give the original " in message


def test_a_download_that_is_not_what_was_published_is_refused(
    remote: tuple[Cifar, Path], tmp_path: Path
) -> None:
    spoil(remote[1])
    assert "could not be fetched" in refusal(remote[0], "download", tmp_path / "downloads")


def test_only_the_word_download_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cifar, "_download", lambda *_: pytest.fail("fetched"))
    monkeypatch.chdir(tmp_path)
    for path in ("downloads", "./download", ""):
        refusal(CIFAR100, path)


@pytest.fixture(scope="module")
def real() -> dict[str, pa.Table]:
    if not REAL.is_dir():
        pytest.skip(f"no CIFAR-100 in {REAL}")
    return {
        part: pq.read_table(next(REAL.glob(f"{part}-*.parquet")), columns=["img", "fine_label"])
        for part in PER_CLASS
    }


def test_the_real_files_have_the_published_classes_and_sizes(real: dict[str, pa.Table]) -> None:
    for part, table in real.items():
        counts = np.bincount(table.column("fine_label").to_numpy())
        assert counts.tolist() == [CIFAR100.per_class[part]] * 100
        names = table.schema.metadata[b"class_names"].decode().split("\n")
        assert tuple(names) == CIFAR100.class_names


def test_the_real_images_have_ten_duplicates_across_train_and_test(
    real: dict[str, pa.Table], tmp_path: Path
) -> None:
    """Pixels are identical where PNG files are, as one program wrote them; only these are decoded."""
    contents = {
        part: table.column("img").combine_chunks().field("bytes").to_pylist() for part, table in real.items()
    }
    both = set(contents["train"]) & set(contents["test"])
    per_class = {}
    for part, table in real.items():
        rows = [row for row, content in enumerate(contents[part]) if content in both]
        pq.write_table(table.take(rows), tmp_path / f"{part}-0.parquet")
        per_class[part] = len(rows)
    one_class = replace(CIFAR100, class_names=("any",), per_class=per_class)
    for part in per_class:
        table = pq.read_table(tmp_path / f"{part}-0.parquet")
        zeros = pa.array(np.zeros(table.num_rows, np.int64))
        pq.write_table(table.set_column(1, "fine_label", zeros), tmp_path / f"{part}-0.parquet")
    source = read(one_class, tmp_path)
    pool = draw_pool(source, benchmark="real", data_seed=0, test_per_class=None, duplicates="keep")
    assert len(pool.shared) == 10
    assert per_class == {"train": 10, "test": 10}
