"""Long-tailed sets given by official lists of files: ImageNet-LT and Places-LT.

Z. Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019. Each set (train, val, test)
is a text file with one `relative/path label` per line, relative to the root of the images.
The val list names images of the training part of ImageNet or Places, the test list the official validation
part.

`longtail.data.image_roots` checks that the files exist and can be decoded.
"""

import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtail.config.benchmarks import Totals
from longtail.errors import InputError, shown

ABSOLUTE = re.compile(r"/|[A-Za-z]:")
LARGEST_LABEL = 999_999


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of one list, in its order: paths [N] relative to `root` with `/`, and labels [N] from 0."""

    file: Path
    root: Path
    path: tuple[str, ...]
    label: NDArray[np.int64]

    @property
    def files(self) -> list[Path]:
        """Paths of the images, [N]."""
        return [self.root / path for path in self.path]


@dataclass(frozen=True, eq=False)
class LongTailed:
    """The three sets under one numbering of the classes, by descending training count.

    Class c of `train`, `val` and `test` has the label `original_label[c]` in the lists, and counts[c]
    training images. `flat_val`: the test images are in `val/` itself, not in class folders, and their
    paths are those; see `longtail.data.image_roots.located`.
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


def read_list(path: Path, root: Path) -> ImageList:
    """Read a list of images below `root`, but not the images.

    A path may contain spaces: the label follows the last one. Raises InputError naming file and line for
    a line without a label, a label that is no integer from 0, a path that is absolute or climbs, or a path
    that was there before.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{shown(path)}, line {line}", "not UTF-8", "save the list as UTF-8") from None
    except OSError as error:
        raise InputError(path, error.strerror, "expected a list of images") from None
    if not text.strip():
        raise InputError(path, "empty", "expected `relative/path label` in each line")
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
            raise InputError(f"{shown(path)}, line {number}", error) from None
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
    """The beginning of a text, for use in a one-line message."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def long_tailed(
    train: ImageList, val: ImageList, test: ImageList, totals: Totals | None = None
) -> LongTailed:
    """The three sets together, classes numbered by descending training count, ties by the original label.

    Raises InputError if a published figure of `totals` differs, a class has no training image, a label of
    `val` or `test` is none of `train`'s, or two sets share a path.
    """
    counts = np.bincount(train.label)
    if totals is not None:
        _check_totals(train, val, test, counts, totals)
    if not counts.all():
        empty = np.flatnonzero(counts == 0)
        raise InputError(
            train.file,
            f"label {empty[0]} has no training image, as {len(empty)} of {len(counts)}",
            "labels count from 0 without gaps",
        )
    for other in (val, test):
        strange = np.flatnonzero(other.label >= len(counts))
        if len(strange):
            label, path = other.label[strange[0]], shown(other.path[strange[0]])
            raise InputError(
                other.file,
                f"label {label} of {path} has no training image in {shown(train.file)}",
                "take lists of one benchmark",
            )
    for one, other in ((train, val), (train, test), (val, test)):
        known = set(one.path)
        common = [path for path in other.path if path in known]
        if common:
            raise InputError(
                f"{shown(one.file)} and {shown(other.file)} have {len(common)} images in common (first",
                f"{shown(common[0])})",
                "the sets must not overlap",
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
            f"{shown(train.file)} and its sister lists are not {totals.name}",
            "; ".join(wrong),
            "take the official lists",
        )
