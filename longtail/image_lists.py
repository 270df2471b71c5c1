"""Long-tailed sets given by official lists of files: ImageNet-LT and Places-LT.

Z. Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019. Each set (train, val, test)
is a text file with one `relative/path label` a line. The paths count from a root, which holds the images.
The val list names images of the training part of ImageNet or Places, the test list the official validation
part.

The lists are read and checked at once (`read_list`, `long_tailed`), then whether the files are there
(`located`, `check_files`), and, where a person asks for it, whether they can be decoded (`verify`).
"""

from __future__ import annotations

import multiprocessing
import os
import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtail.errors import InputError
from longtail.image_files import read_image, shown
from longtail.selection import select

ABSOLUTE = re.compile(r"/|[A-Za-z]:")
LARGEST_LABEL = 999_999
VAL = "val"
CHUNK = 32
"""Images that a process checks before it reports."""

Chunk = list[Path]


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of one list, in its order: paths [N] relative to `root` with `/`, and labels [N] from 0."""

    file: Path
    root: Path
    path: tuple[str, ...]
    label: NDArray[np.int64]

    @property
    def files(self) -> list[Path]:
        """Where the images are, [N]."""
        return [self.root / path for path in self.path]


@dataclass(frozen=True)
class Totals:
    """The published figures of a benchmark: images of each set, classes, the largest and smallest of them."""

    name: str
    train: int
    val: int
    test: int
    classes: int
    largest: int
    smallest: int


IMAGENET_LT = Totals("ImageNet-LT", 115_846, 20_000, 50_000, classes=1000, largest=1280, smallest=5)
PLACES_LT = Totals("Places-LT", 62_500, 7_300, 36_500, classes=365, largest=4980, smallest=5)


@dataclass(frozen=True, eq=False)
class LongTailed:
    """The three sets under one numbering of the classes, by descending training count.

    Class c of `train`, `val` and `test` has the label `original_label[c]` in the lists, and counts[c]
    training images. `flat_val`: the test images lie in `val/` itself, without a folder a class, and their
    paths are those; see `located`.
    """

    train: ImageList
    val: ImageList
    test: ImageList
    original_label: tuple[int, ...]
    counts: tuple[int, ...]
    flat_val: bool = False

    @property
    def imbalance(self) -> float:
        """n_max / n_min."""
        return self.counts[0] / self.counts[-1]

    @property
    def sets(self) -> tuple[ImageList, ImageList, ImageList]:
        """Train, val and test."""
        return self.train, self.val, self.test


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, and why."""

    file: Path
    reason: str


def read_list(path: Path, root: Path) -> ImageList:
    """Read a list of images below `root`; the images themselves are not looked at.

    A path may hold blanks: the label is what follows the last one. Raises InputError naming file and line for
    a line without a label, a label that is no integer from 0, a path that is absolute or climbs, or a path
    that was there before.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{shown(path)}, line {line}: not UTF-8; save the list as UTF-8") from None
    except OSError as error:
        raise InputError(f"{shown(path)}: {error.strerror}; expected a list of images") from None
    if not text.strip():
        raise InputError(f"{shown(path)}: empty; expected `relative/path label` in each line")
    labels: list[int] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        try:
            image, label = _parsed(line)
            if image in line_of:
                raise ValueError(
                    f"{_quoted(image)} is in line {line_of[image]} already; remove one of the two"
                )
        except ValueError as error:
            raise InputError(f"{shown(path)}, line {number}: {error}") from None
        line_of[image] = number
        labels.append(label)
    return ImageList(file=path, root=root, path=tuple(line_of), label=np.array(labels, np.int64))


def _parsed(line: str) -> tuple[str, int]:
    """Path and label of a line; ValueError says what is wrong with it."""
    parts = line.rsplit(maxsplit=1)
    if len(parts) < 2:
        raise ValueError(f"found {_quoted(line.strip())}, without a label; expected `relative/path label`")
    image, label = parts[0].strip(), parts[1]
    if not (label.isascii() and label.isdigit()) or len(label) > 9 or int(label) > LARGEST_LABEL:
        raise ValueError(f"label {_quoted(label)}; expected an integer from 0 to {LARGEST_LABEL:,}")
    if "\\" in image or "\0" in image:
        raise ValueError(f"path {_quoted(image)}; write it with / between folders")
    if ABSOLUTE.match(image):
        raise ValueError(f"path {_quoted(image)} is absolute; make it relative to the root of the images")
    if ".." in image.split("/"):
        raise ValueError(f"path {_quoted(image)} climbs; name what is below the root, without '..'")
    return posixpath.normpath(image), int(label)


def _quoted(text: str) -> str:
    """The beginning of a text as a piece of one line."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def long_tailed(
    train: ImageList, val: ImageList, test: ImageList, totals: Totals | None = None
) -> LongTailed:
    """The three sets together, classes numbered by descending training count, ties by the original label.

    Raises InputError where a published figure of `totals` differs, a class has no training image, a label of
    `val` or `test` is none of `train`'s, or two sets share a path.
    """
    counts = np.bincount(train.label)
    if totals is not None:
        _check_totals(train, val, test, counts, totals)
    if not counts.all():
        empty = np.flatnonzero(counts == 0)
        raise InputError(
            f"{shown(train.file)}: label {empty[0]} has no training image, as {len(empty)} of {len(counts)}; "
            f"labels count from 0 without gaps"
        )
    for other in (val, test):
        strange = np.flatnonzero(other.label >= len(counts))
        if len(strange):
            label, path = other.label[strange[0]], shown(other.path[strange[0]])
            raise InputError(
                f"{shown(other.file)}: label {label} of {path} has no training image in {shown(train.file)}; "
                f"take lists of one benchmark"
            )
    for one, other in ((train, val), (train, test), (val, test)):
        known = set(one.path)
        common = [path for path in other.path if path in known]
        if common:
            raise InputError(
                f"{shown(one.file)} and {shown(other.file)} have {len(common)} images in common "
                f"(first: {shown(common[0])}); the sets must not overlap"
            )
    order = np.argsort(-counts, kind="stable")
    new = np.argsort(order)
    return LongTailed(
        *(replace(part, label=new[part.label]) for part in (train, val, test)),
        original_label=tuple(order.tolist()),
        counts=tuple(counts[order].tolist()),
    )


def _check_totals(
    train: ImageList, val: ImageList, test: ImageList, counts: NDArray[np.int64], totals: Totals
) -> None:
    there = counts[counts > 0]
    figures = {
        "training images": (len(train.path), totals.train),
        "val images": (len(val.path), totals.val),
        "test images": (len(test.path), totals.test),
        "classes": (len(there), totals.classes),
        "images in the largest class": (int(there.max()), totals.largest),
        "images in the smallest class": (int(there.min()), totals.smallest),
    }
    wrong = [f"{found:,} {name}, not {want:,}" for name, (found, want) in figures.items() if found != want]
    if wrong:
        raise InputError(
            f"{shown(train.file)} and the lists beside it are not {totals.name}: {'; '.join(wrong)}; "
            f"take the official lists"
        )


def draw_meta(lists: LongTailed, per_class: int, seed: int) -> ImageList:
    """The meta set: `per_class` images of each class of `lists.val`, in the order of that list.

    Which ones is decided by a hash of (seed, path), as `longtail.selection` does by content: it is the same
    whatever the order of the list, and a smaller set lies inside a larger one. The authors' release draws 10
    of 20 anew in each run, without a seed. Raises InputError if a class has too few.
    """
    val = lists.val
    wanted = [per_class] * len(lists.counts)
    rows = np.sort(select(np.array(val.path), val.label, wanted, seed=seed, stream="meta"))
    return replace(val, path=tuple(val.path[row] for row in rows), label=val.label[rows])


def located(lists: LongTailed) -> LongTailed:
    """`lists` with the test paths as the root has them: `val/<class>/<file>`, or flat, `val/<file>`.

    Flat is a root whose `val/` has listed files, and none of the listed class folders. Raises InputError if
    two test images would then be one file.
    """
    nested = [path.split("/") for path in lists.test.path]
    if lists.flat_val or any(len(parts) != 3 or parts[0] != VAL for parts in nested):
        return lists
    files, folders = _entries(lists.test.root, VAL)
    names = [name for _, _, name in nested]
    if folders & {folder for _, folder, _ in nested} or not files.keys() & set(names):
        return lists
    if len(set(names)) < len(names):
        raise InputError(
            f"{shown(lists.test.root / VAL)}: without a folder a class, but files of different classes share "
            f"their names; make the folders that {shown(lists.test.file)} names"
        )
    test = replace(lists.test, path=tuple(f"{VAL}/{name}" for name in names))
    return replace(lists, test=test, flat_val=True)


def missing(root: Path, paths: Iterable[str]) -> list[str]:
    """Those of `paths`, in their order, that are no files below `root`.

    Each folder is listed once; files are not asked for one by one. Raises InputError for a symbolic link on
    the way to a file that leaves the root, and for a folder that cannot be listed.
    """
    asked = list(paths)
    files_of = {folder: _entries(root, folder)[0] for folder in {posixpath.dirname(path) for path in asked}}
    absent: list[str] = []
    real_root = _real(root)
    for path in asked:
        folder, name = posixpath.split(path)
        if name not in files_of[folder]:
            absent.append(path)
        elif files_of[folder][name] and not _real(root / path).is_relative_to(real_root):
            raise InputError(f"{shown(root / path)}: a symbolic link that leaves the root; copy the file")
    return absent


def _real(path: Path) -> Path:
    # unlike Path.resolve, no error for links that lead in a circle
    return Path(os.path.realpath(path))


def _entries(root: Path, folder: str) -> tuple[dict[str, bool], set[str]]:
    """Files of a folder below `root`, with whether they are symbolic links, and the folders in it."""
    place = root / folder
    if not _real(place).is_relative_to(_real(root)):
        raise InputError(f"{shown(place)}: a symbolic link leads it out of the root; copy the folder")
    files: dict[str, bool] = {}
    folders: set[str] = set()
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.add(entry.name)
                elif entry.is_file():
                    files[entry.name] = entry.is_symlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(f"{shown(place)}: {error.strerror}") from None
    return files, folders


def check_files(lists: LongTailed) -> None:
    """Raise InputError if files of the lists are missing, with how many and the first five."""
    asked = [path for part in lists.sets for path in part.path]
    root = lists.train.root
    if not root.is_dir():
        raise InputError(f"{shown(root)}: not a folder; give the root of the images")
    absent = missing(root, asked)
    if absent:
        first = ", ".join(map(shown, absent[:5]))
        remedy = (
            "add them" if len(absent) < len(asked) else "give the folder that the paths in the lists begin in"
        )
        raise InputError(
            f"{shown(root)}: {len(absent):,} of {len(asked):,} images are missing (first: {first}); {remedy}"
        )


def verify(
    files: Sequence[Path], workers: int, reach: Callable[[int], object] = lambda count: None
) -> list[BadImage]:
    """Decode every image in `workers` processes; the bad ones, in the order of `files`.

    `reach` is told how many are done. Bad are empty and truncated files, what is no image, and images of too
    many pixels (`longtail.image_files`). An image whose decoding ends its process is named like the others.
    Processes are spawned: a script that calls this needs the usual guard of its main module.
    """
    bad: list[BadImage] = []
    suspects: list[Path] = []
    done = 0
    for chunk, found in _decoded(files, workers):
        if found is None:
            suspects += chunk
            continue
        bad += found
        done += len(chunk)
        reach(done)
    for file, reason in _one_by_one(suspects):
        bad += [BadImage(file, reason)] if reason else []
        done += 1
        reach(done)
    place = {file: row for row, file in enumerate(files)}
    return sorted(bad, key=lambda image: place[image.file])


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # not forked: the process that asks may have threads of torch's
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # a process that cannot start at all is no image's fault
        yield pool


def _decoded(files: Sequence[Path], workers: int) -> Iterator[tuple[Chunk, list[BadImage] | None]]:
    """Chunks of `files` with their bad images; None for those under way when a process died."""
    left = deque(list(files[start : start + CHUNK]) for start in range(0, len(files), CHUNK))
    while left:
        running: dict[Future[list[BadImage]], Chunk] = {}
        with _pool(workers) as pool, suppress(BrokenProcessPool):
            while left or running:
                # few at a time: all of them are suspects if a process dies
                while left and len(running) < 2 * workers:
                    running[pool.submit(_bad_images, left[0])] = left[0]
                    left.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    found = future.result()
                    yield running.pop(future), found
        for chunk in running.values():
            yield chunk, None


def _one_by_one(files: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Each file with what is wrong with it, in one process, which is replaced when it dies."""
    left = deque(files)
    while left:
        with _pool(1) as pool, suppress(BrokenProcessPool):
            while left:
                reason = pool.submit(_reason, left[0]).result()
                yield left.popleft(), reason
        if left:
            yield left.popleft(), "decoding it ends the process"


def _bad_images(chunk: Chunk) -> list[BadImage]:
    return [BadImage(file, reason) for file in chunk if (reason := _reason(file))]


def _reason(file: Path) -> str | None:
    """What is wrong with an image; None: nothing."""
    try:
        if file.is_file() and not file.stat().st_size:
            return "empty (0 bytes)"
        read_image(file, (1, 1, 3))
    except InputError as error:
        return str(error).removeprefix(f"{shown(file)}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None
