"""Your own images: a folder of class folders, or a list of files with their classes.

Every image becomes a square of one size, uint8 RGB: its shorter side is resized to that size, bilinear with
antialiasing, and the centre is cropped. Classes are sorted by descending number of images, ties by name, so
class 0 is the largest, as in the other benchmarks.
"""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from longtail.data.image_files import FORMATS, MAX_PIXELS, SUFFIXES, eight_bits, fitted
from longtail.data.image_folders import real_path, search
from longtail.data.pools import share_sizes
from longtail.data.source import Reach, Source
from longtail.errors import InputError, and_more, flat, shown

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Names of folders that are splits where they hold the same classes, in any case."""

SHOWN = 5
"""How many faulty files, rows or classes an error names."""

LARGEST = 8 * 10**9
"""Bytes of the array of all images; `prepare` needs it twice."""

WANTED = "give a folder of class folders, or a .csv or .parquet list with the columns path and label"


Pairs = list[tuple[Path, str]]
"""Files with the names of their classes."""


@dataclass(frozen=True)
class OwnImages:
    """The user's image files with their classes; nothing is decoded yet.

    `root`: the folder, or that of the list. `files` [N] are in it, except given test images; `label` [N] is
    in 0..C-1. `others`: files in the class folders that are no images by their names.
    """

    root: Path
    files: tuple[Path, ...]
    label: NDArray[np.int64]
    class_names: tuple[str, ...]
    side: int
    """Pixels of a side of the square that each image becomes."""
    test: NDArray[np.bool_] | None = None
    """Which images [N] are the given test images; None: the test images are drawn."""
    others: int = 0
    bundled: bool = False

    @property
    def size(self) -> int:
        """How many images there are."""
        return len(self.files)

    @property
    def sizes(self) -> list[int]:
        """Images of each class [C] without given test images, descending."""
        label = self.label if self.test is None else self.label[~self.test]
        return np.bincount(label, minlength=len(self.class_names)).tolist()

    def check(self, test_share: float | None, meta_per_class: int) -> None:
        """Raise InputError if a class cannot give its test and meta images and one to train on, or where
        the images together are too large. `test_share` is None where test images are given.
        """
        tests = [0] * len(self.sizes) if test_share is None else share_sizes(self.sizes, test_share)
        check_classes(shown(self.root), self.class_names, self.sizes, tests, meta_per_class)
        total = self.size * self.side**2 * 3
        if total > LARGEST:
            fitting = int((LARGEST / (3 * self.size)) ** 0.5)
            remedy = f"own.image_size: {fitting} or less" if fitting >= 8 else "fewer images"
            raise InputError(
                self.root,
                f"{self.size:,} images x {self.side} x {self.side} x 3 = {total / 1e9:.1f} GB, more than the "
                f"{LARGEST / 1e9:g} GB that may be held in memory",
                f"give {remedy}",
            )

    def read(self, origin: str | None, downloads: Path, reach: Reach) -> Source:
        """All images, decoded in as many threads as there are processors; see `Reader`."""
        images = np.empty((self.size, self.side, self.side, 3), np.uint8)
        faults: dict[Path, str] = {}
        executor = ThreadPoolExecutor(os.cpu_count())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PIL warns of bombs and odd metadata
                decoded = executor.map(partial(_decoded, side=self.side), self.files)
                for row, (path, image) in enumerate(zip(self.files, decoded, strict=True)):
                    if isinstance(image, str):
                        faults[path] = image
                    else:
                        images[row] = image
                    reach(row + 1)
        finally:
            executor.shutdown(cancel_futures=True)
        if faults:
            named = [f"{_within(path, self.root)} ({fault})" for path, fault in faults.items()]
            raise InputError(
                self.root,
                f"{len(faults)} of {self.size:,} images cannot be read: {and_more(named, SHOWN)}",
                "fix or remove them",
            )
        return Source(images, self.label, self.class_names, self.test)


def check_classes(
    where: str, names: Sequence[str], sizes: Sequence[int], tests: Sequence[int], meta_per_class: int
) -> None:
    """Raise InputError, with the counts, where a class has fewer images than its test images, its meta images
    and one to train on. `tests` are zeros where the test images are given, and not among `sizes`.
    """
    small = [
        f"{shown(name)} {size} of {test + meta_per_class + 1}"
        for name, size, test in zip(names, sizes, tests, strict=True)
        if size < test + meta_per_class + 1
    ]
    if small:
        drawn = "the test set (own.test_share of them), " if any(tests) else ""
        raise InputError(
            where,
            f"{len(small)} of {len(names)} classes have fewer images than {drawn}"
            f"{meta_per_class} for the meta set and 1 to train on: {and_more(small, SHOWN)}",
            "add images, leave the classes out, or give a smaller meta_per_class",
        )


def find_own(where: Path, side: int, test: Path | None = None) -> OwnImages:
    """The images of the folder or list `where`, and the test images in `test` if given. Raises InputError."""
    root, pairs, others = _found(where)
    counts = Counter(name for _, name in pairs)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    if len(names) < 2:
        raise InputError(where, f"{len(names)} class with images, 2 or more are needed", WANTED)
    for name in names:
        if not _is_text(name):
            raise InputError(where, f"class {shown(name)}: a name that is not UTF-8", "rename it")
    given = None
    if test is not None:
        _, held, more = _found(test)
        _check_test(where, test, pairs, held)
        given = np.repeat([False, True], [len(pairs), len(held)])
        pairs, others = pairs + held, others + more
    place = {name: c for c, name in enumerate(names)}
    label = np.array([place[name] for _, name in pairs], np.int64)
    return OwnImages(root, tuple(path for path, _ in pairs), label, tuple(names), side, given, others)


def _found(where: Path) -> tuple[Path, Pairs, int]:
    """The root of the images of a folder or list, the images, and the number of other files."""
    if where.is_dir():
        return where, *_in_folders(where)
    if where.is_file():
        return where.parent, _in_list(where), 0
    raise InputError(where, "no such file or folder", WANTED)


def _check_test(where: Path, test: Path, pairs: Pairs, held: Pairs) -> None:
    """Raise InputError unless the given test images `held` are other files of the same classes as `pairs`."""
    classes, tested = ({name for _, name in part} for part in (pairs, held))
    for strange, problem, remedy in (
        (tested - classes, f"have no image in {shown(where)}", "take them out, or name them alike"),
        (classes - tested, "have no test image", "add some, or let the test images be drawn"),
    ):
        if strange:
            raise InputError(
                test, f"{len(strange)} classes {problem}: {and_more(sorted(strange), SHOWN)}", remedy
            )
    known = {real_path(path) for path, _ in pairs}
    both = [path for path, _ in held if real_path(path) in known]
    if both:
        raise InputError(
            test,
            f"{len(both)} of its images are in {shown(where)} too: {and_more(both, SHOWN)}",
            "keep each in one of the two",
        )


def _in_folders(root: Path) -> tuple[Pairs, int]:
    """The images anywhere below each class folder, sorted, and the number of other files there."""
    real = real_path(root)
    try:
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(root, error.strerror, "make it readable") from None
    links = [path for path in entries if path.is_symlink()]
    _refuse_links(root, [path for path in links if path.is_dir() or not real_path(path).is_relative_to(real)])
    loose = [_within(path, root) for path in entries if path.is_file() and path.suffix.lower() in SUFFIXES]
    if loose:
        raise InputError(
            root,
            f"{len(loose)} images are next to the class folders: {and_more(loose, SHOWN)}",
            "move each into the folder of its class",
        )
    classes = [path for path in entries if path.is_dir()]
    inside = {folder.name: search(folder, root) for folder in classes}
    _refuse_splits(root, {name: found.files for name, found in inside.items()})
    _refuse_links(root, [link for found in inside.values() for link in found.links])
    empty = [shown(name) for name, found in inside.items() if not found.files]
    if empty:
        raise InputError(
            root,
            f"{len(empty)} of {len(classes)} class folders have no image ({', '.join(SUFFIXES)}): "
            f"{and_more(empty, SHOWN)}",
            "add images or remove the folders",
        )
    pairs = [(path, name) for name, found in inside.items() for path in found.files]
    return pairs, sum(len(found.passed) for found in inside.values())


def _refuse_splits(root: Path, inside: dict[str, list[Path]]) -> None:
    """Raise InputError if the folders, by name with their images, are splits with the same classes below."""
    names = list(inside)
    if len(names) < 2 or not all(name.lower() in SPLITS for name in names):
        return
    parts = [{path.relative_to(root).parts[1:-1][:1] for path in files} for files in inside.values()]
    below = Counter(folder for found in parts for (folder,) in found - {()})
    common = sorted(name for name, count in below.items() if count > 1)
    if common:
        train = next((name for name in names if name.lower().startswith("train")), names[0])
        test = next((name for name in names if name.lower().startswith("test")), names[-1])
        raise InputError(
            root,
            f"{and_more(names, SHOWN)} are splits, not classes: {len(common)} folders are in more than one "
            f"({and_more(common, SHOWN)})",
            f"name the folder of one split, {shown(root / train)}, or two as "
            f"`images: {{own: {{train: .../{shown(train)}, test: .../{shown(test)}}}}}`",
        )


def _refuse_links(root: Path, links: Sequence[Path]) -> None:
    """Raise InputError if there are links that lead out of `root`, or to a folder."""
    if links:
        raise InputError(
            root,
            f"{len(links)} symbolic links lead out of it or to a folder: "
            f"{and_more([_within(path, root) for path in links], SHOWN)}",
            "put the files themselves there",
        )


def _in_list(where: Path) -> Pairs:
    """The files of a list, in its order, with their labels as text."""
    columns = _columns(where)
    root, real = where.parent, real_path(where.parent)
    bare = [row for row, pair in enumerate(columns, 1) if None in pair or "" in pair]
    if bare:
        raise InputError(
            where, f"{len(bare)} rows without a path or a label (first: row {bare[0]})", "fill them in"
        )
    rows = [(str(path), str(label)) for path, label in columns]
    faults = []
    for text, _ in rows:
        fault = _fault(root, real, text)
        if fault:
            faults.append(f"{shown(text)} ({fault})")
    if faults:
        raise InputError(
            where,
            f"{len(faults)} of {len(rows)} paths name no file in its folder: {and_more(faults, SHOWN)}",
            "fix the list",
        )
    pairs = [(root / text, label) for text, label in rows]
    counts = Counter(Path(os.path.normpath(path)) for path, _ in pairs)
    twice = [_within(path, Path(os.path.normpath(root))) for path, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            where, f"{len(twice)} paths are listed twice: {and_more(twice, SHOWN)}", "keep one row of each"
        )
    return pairs


def _columns(where: Path) -> list[tuple[object, object]]:
    """The columns path and label of a list."""
    suffix = where.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(where, "neither a folder nor a list", WANTED)
    try:
        if suffix == ".csv":
            text = {"path": pa.string(), "label": pa.string()}
            options = pa_csv.ConvertOptions(column_types=text, include_columns=list(text))
            table = pa_csv.read_csv(where, convert_options=options)
        else:
            table = pq.ParquetFile(where).read(columns=["path", "label"])
        if set(table.column_names) != {"path", "label"}:
            raise KeyError("one of them is missing")
        return list(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = flat(error)
        raise InputError(where, f"not a list with the columns path and label ({reason})", "fix it") from None


def _fault(root: Path, real: Path, text: str) -> str | None:
    """What is wrong with a path of a list, None: nothing."""
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return "absolute"
    if ".." in PurePosixPath(text).parts or ".." in PureWindowsPath(text).parts:
        return "climbs"
    if "\0" in text or not (root / text).is_file():
        return "no such file"
    if not real_path(root / text).is_relative_to(real):
        return "a link that leads out"
    return None


def _decoded(path: Path, side: int) -> NDArray[np.uint8] | str:
    """The image [side, side, 3], or what is wrong with it."""
    if not path.is_file():  # a pipe, or a link to nothing
        return "not a file"
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.height * image.width > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            return np.asarray(squared(image, side), np.uint8)
    except Image.DecompressionBombError:
        return f"more than {MAX_PIXELS:,} pixels"
    except Image.UnidentifiedImageError:
        return f"not {', '.join(FORMATS)}, or damaged"
    except Exception as error:  # decoders fail in many ways
        return flat(error)


def squared(image: Image.Image, side: int) -> Image.Image:
    """RGB, the shorter side resized to `side`, the centre of `side` x `side` pixels."""
    return fitted(eight_bits(image).convert("RGB"), side, side)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _within(path: Path, root: Path) -> str:
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)
