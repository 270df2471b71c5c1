"""The pool: every image of a benchmark, its class, its content hash, and whether it is a test image."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longtail.data.image_files import UPRIGHT, PixelRules
from longtail.data.selection import select
from longtail.data.source import Source, image_hash
from longtail.errors import InputError, flat, shown
from longtail.parquet_files import read_parquet, schema_of, write_parquet

SCHEMA = schema_of(image=pa.int64(), label=pa.int64(), split=pa.string(), hash=pa.string())
FILE_SCHEMA = schema_of(path=pa.string())
"""The extra column of a pool of files."""
SPLITS = ("source", "val", "test")

Duplicates = Literal["exclude", "keep"]
Split = Literal["content", "file_order"]


@dataclass(frozen=True, eq=False)
class Pool:
    """One row per image, sorted by (label, hash, split, image).

    image [N]: its row in the array of images; label [N], 0..C-1; split [N], 'source' or 'test'; hash [N],
    see `image_hash`. `image_shape` is (H, W, channels). `test_per_class` is None if the test set is the
    data set's official one, or a share of each class.

    Where images are read from files, `path` [N] is relative to the root, with `/`; `image` is a number,
    `hash` the sha256 of the file's bytes, and `image_shape` what a network gets. Official lists also have a
    val set: its images have the split 'val', and the meta set is drawn from them instead of from the source.

    `duplicates`: with 'exclude' no content is both in 'source' and in 'test', with 'keep' some may be.
    `drawn_by`: how meta and training sets are drawn, by image content or in the order of the data set's own
    files; in the latter case `image` is that order.
    """

    benchmark: str
    class_names: tuple[str, ...]
    data_seed: int
    test_per_class: int | None
    duplicates: Duplicates
    drawn_by: Split
    image_shape: tuple[int, ...]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    split: NDArray[np.str_]
    hash: NDArray[np.str_]
    path: NDArray[np.str_] | None = None
    original_label: tuple[int, ...] | None = None
    """Of each class, in the lists."""
    rules: PixelRules = UPRIGHT
    """How image files became the images."""

    def rows(self, split: Literal["source", "val", "test"]) -> NDArray[np.int64]:
        """The rows of one split."""
        return np.flatnonzero(self.split == split)

    @property
    def rule(self) -> str:
        """What decides the meta and training images, in words."""
        return f"data seed {self.data_seed}" if self.drawn_by == "content" else "in the order of the files"

    @cached_property
    def shared(self) -> NDArray[np.str_]:
        """The contents of 'test' that are in another split too, sorted; none where they are excluded."""
        test = self.split == "test"
        return np.intersect1d(self.hash[~test], self.hash[test])

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of its file."""
        paths = {} if self.path is None else {"path": self.path}
        return {**{name: getattr(self, name) for name in SCHEMA.names}, **paths}

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of all but `image`: the same images in another file order are the same pool."""
        columns = {"label": self.label, "split": self.split, "hash": self.hash}
        return content_fingerprint(self.header(), columns)

    def files(self, root: Path, images: NDArray[np.int64]) -> tuple[list[Path], list[str]]:
        """Path and hash of these images, where images are read from files."""
        assert self.path is not None, "images of this pool are in an array"
        row_of = dict(zip(self.image.tolist(), range(len(self.image)), strict=True))
        rows = [row_of[image] for image in images.tolist()]
        return [root / str(self.path[row]) for row in rows], self.hash[rows].tolist()

    def header(self) -> dict[str, Any]:
        """What the file says besides its columns."""
        return {
            "kind": "pool",
            "benchmark": self.benchmark,
            "class_names": list(self.class_names),
            "data_seed": self.data_seed,
            "test_per_class": self.test_per_class,
            "duplicates": self.duplicates,
            "drawn_by": self.drawn_by,
            "image_shape": list(self.image_shape),
            **({} if self.original_label is None else {"original_label": list(self.original_label)}),
            **({} if self.rules == UPRIGHT else {"pixel_rules": asdict(self.rules)}),
        }


def draw_pool(
    source: Source,
    *,
    benchmark: str,
    data_seed: int,
    test_per_class: int | None,
    test_share: float | None = None,
    duplicates: Duplicates = "exclude",
    drawn_by: Split = "content",
) -> Pool:
    """Split the images of `source` into test set and source; `Pool.image` is an image's row in `source`.

    The test set is the official one, or, where there is none, `test_per_class` images of every class or
    `test_share` of them (see `share_sizes`). Raises InputError if a class is too small.
    """
    if [test_per_class is None, test_share is None, source.test is None].count(False) != 1:
        raise ValueError("a test set is drawn where a source has none, and only there")
    hashes = source.hashes
    if source.test is None:
        classes = len(source.class_names)
        sizes = np.bincount(source.label, minlength=classes)
        wanted = [test_per_class or 0] * classes if test_share is None else share_sizes(sizes, test_share)
        test = select(hashes, source.label, wanted, seed=data_seed, stream="test")
    else:
        test = np.flatnonzero(source.test)
    split = np.full(len(hashes), "source")
    split[test] = "test"
    pool = Pool(
        benchmark=benchmark,
        class_names=source.class_names,
        data_seed=data_seed,
        test_per_class=test_per_class,
        duplicates="keep",
        drawn_by=drawn_by,
        image_shape=source.images.shape[1:],
        image=np.arange(len(hashes)),
        label=source.label,
        split=split,
        hash=hashes,
        rules=source.rules,
    )
    pool = sorted_pool(pool)
    return pool if duplicates == "keep" else without_duplicates(pool)


def sorted_pool(pool: Pool) -> Pool:
    """The pool with its rows sorted by (label, hash, split, image)."""
    return _of_rows(pool, np.lexsort((pool.image, pool.split, pool.hash, pool.label)))


def _of_rows(pool: Pool, rows: NDArray[Any]) -> Pool:
    return replace(pool, **{name: column[rows] for name, column in pool.columns.items()})


def share_sizes(sizes: Iterable[int], share: float) -> list[int]:
    """Test images per class, from its number of images: a `share`, rounded half to even, at least 1."""
    return [max(1, round(share * int(size))) for size in sizes]


def without_duplicates(pool: Pool) -> Pool:
    """The pool without the images of other splits that are identical to a test image."""
    stays = (pool.split == "test") | ~np.isin(pool.hash, pool.shared)
    return replace(_of_rows(pool, stays), duplicates="exclude")


def arranged(pool: Pool, images: NDArray[np.uint8]) -> tuple[Pool, NDArray[np.uint8]]:
    """Pool and images to store.

    Where sets are drawn by content, images are in pool order, so both are the same for every source.
    Otherwise they stay in file order.
    """
    if pool.drawn_by == "file_order":
        return pool, images
    return replace(pool, image=np.arange(len(pool.image))), images[pool.image]


def write_pool(path: Path, pool: Pool) -> None:
    """Write `pool` to `path`, whole or not at all; the same pool gives the same bytes."""
    write_columns(path, pool.columns, {**pool.header(), "fingerprint": pool.fingerprint})


def read_pool(path: Path) -> Pool:
    """Read and check a pool. Raises InputError naming the file, what is wrong with it, and the remedy."""
    columns, header = read_columns(path, "pool", SCHEMA, FILE_SCHEMA)
    try:
        pool = Pool(
            benchmark=header["benchmark"],
            class_names=tuple(header["class_names"]),
            data_seed=header["data_seed"],
            test_per_class=header["test_per_class"],
            duplicates=header["duplicates"],
            drawn_by=header["drawn_by"],
            image_shape=tuple(header["image_shape"]),
            original_label=tuple(header["original_label"]) if "original_label" in header else None,
            rules=PixelRules(**header["pixel_rules"]) if "pixel_rules" in header else UPRIGHT,
            **columns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"its metadata is not that of a pool ({error})") from None
    check_labels(path, pool.label, pool.class_names)
    strange = sorted(set(pool.split.tolist()) - set(SPLITS))
    if strange:
        raise InputError(path, f"split '{strange[0]}', expected one of {', '.join(SPLITS)}")
    if len(pool.shared) and pool.duplicates != "keep":
        raise InputError(path, f"{len(pool.shared)} images are in source and test (first {pool.shared[0]})")
    if len(np.unique(pool.image)) < len(pool.image) or pool.image.min() < 0:
        raise InputError(path, "an image below 0 or twice")
    check_fingerprint(path, header, {**pool.header(), "fingerprint": pool.fingerprint})
    return pool


def read_images(path: Path, pool: Pool, mapped: bool = False) -> NDArray[np.uint8]:
    """The decoded images, uint8 [N, H, W, channels], `pool.image` pointing at its rows.

    `mapped`: from disk and read-only, so that all processes of a machine share one copy in memory. Raises
    InputError unless every image of the pool is there and has the content of its hash.
    """
    if not path.is_file():
        raise InputError(path, "no such file")
    try:
        images = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise InputError(path, f"not an array, or a truncated one ({flat(error)})") from None
    last = int(pool.image.max())
    fits = (
        isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == pool.image_shape
    )
    if not fits or len(images) <= last:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else "several arrays"
        shape = "x".join(map(str, pool.image_shape))
        raise InputError(path, f"{found}, expected uint8 of {shape}, {last + 1} images or more")
    wrong = [
        row
        for row, content in zip(pool.image.tolist(), pool.hash.tolist(), strict=True)
        if image_hash(images[row]) != content
    ]
    if wrong:
        raise InputError(
            path,
            f"{len(wrong)} of {len(pool.image)} images are not those of the pool {pool.fingerprint[:12]} "
            f"(first: row {wrong[0]})",
        )
    return images


def content_fingerprint(header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> str:
    """Hex sha256 of a header and columns, whatever library or version wrote them."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, values in columns.items():
        digest.update("\n".join([f"\n{name}", *map(str, values.tolist())]).encode())
    return digest.hexdigest()


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Write columns with `header`, whole or not at all."""
    write_parquet(path, pa.table({name: values.tolist() for name, values in columns.items()}), header)


def read_columns(
    path: Path, kind: str, schema: pa.Schema, more: pa.Schema | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Columns and header of a file that `write_columns` wrote. Raises InputError, see `read_parquet`."""
    table, header = read_parquet(path, kind, schema, more)
    try:
        return {name: np.array(table[name].to_pylist()) for name in table.column_names}, header
    except UnicodeDecodeError as error:
        raise InputError(path, f"text that is not UTF-8 ({flat(error)})") from None


def check_labels(path: Path, label: NDArray[np.int64], class_names: tuple[str, ...]) -> None:
    """Raise InputError unless the labels are those of the classes and every class has an image."""
    outside = label[(label < 0) | (label >= len(class_names))]
    if len(outside):
        raise InputError(path, f"label {outside[0]}, expected 0 to {len(class_names) - 1}")
    missing = sorted(set(range(len(class_names))) - set(label.tolist()))
    if missing:
        raise InputError(
            path,
            f"class {missing[0]} ({class_names[missing[0]]!r}) has no image, as {len(missing)} of "
            f"{len(class_names)} classes",
        )


def check_fingerprint(path: Path, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise InputError unless the file's header matches its content."""
    if found != own:
        says, has = str(found.get("fingerprint"))[:12], own["fingerprint"][:12]
        raise InputError(path, f"fingerprint {says}, its content has {has}: it was changed")


SHOWN = 3
"""Duplicates that `duplicates_line` names."""


def duplicates_line(pool: Pool, wanted: str) -> str:
    """One line on the images that are both in the source and in the test set."""
    groups = []
    for content in pool.shared[:SHOWN].tolist():
        rows = np.flatnonzero(pool.hash == content)
        where = [f"{shown(pool.class_names[pool.label[row]])} ({pool.split[row]})" for row in rows]
        groups.append(f"{content[:12]} {', '.join(where)}")
    among = np.isin(pool.hash, pool.shared)
    source = int((among & (pool.split != "test")).sum())
    what = "kept in the source" if wanted == "keep" else "left out of the source"
    return (
        f"{len(pool.shared)} images are both in source and test ({source} source and "
        f"{int(among.sum()) - source} test images; duplicates: {wanted}, {what}): {'; '.join(groups)}"
        + ("; ..." if len(pool.shared) > SHOWN else "")
    )
