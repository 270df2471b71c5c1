"""Your own images: a folder of class folders, or a list of files with their classes.

Every image becomes a square of one size, uint8 RGB: its shorter side is resized to that size, bilinear with
antialiasing, and the centre is cropped. Classes are sorted by descending number of images, ties by name, so
class 0 is the largest, as in the other benchmarks.
"""

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtail.data.class_folders import SHOWN, Pairs, in_folders, within
from longtail.data.class_lists import WANTED, in_list
from longtail.data.image_files import Decoded, PixelRules, decode, deep_notes, fitted
from longtail.data.image_folders import Found, passed_over, real_path
from longtail.data.pools import share_sizes
from longtail.data.source import Reach, Source
from longtail.errors import InputError, and_more, shown

LARGEST = 8 * 10**9
"""Bytes of the array of all images; `prepare` needs it twice."""


@dataclass(frozen=True)
class OwnImages:
    """The user's image files with their classes; nothing is decoded yet.

    `root`: the folder, or that of the list. `files` [N] are in it, except given test images; `label` [N] is
    in 0..C-1.
    """

    root: Path
    files: tuple[Path, ...]
    label: NDArray[np.int64]
    class_names: tuple[str, ...]
    side: int
    """Pixels of a side of the square that each image becomes."""
    upright: bool = True
    """Whether images are turned as the camera noted."""
    test: NDArray[np.bool_] | None = None
    """Which images [N] are the given test images; None: the test images are drawn."""
    notes: tuple[str, ...] = ()
    """Lines about what was found: files that are not read, names that are almost equal."""
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
        grey: dict[int, int] = {}
        colour: dict[int, int] = {}

        def take(rows: Sequence[int], rules: PixelRules, reach: Reach) -> None:
            files = [self.files[row] for row in rows]
            decoded = _decoded(files, rules, self.side)
            for done, (row, found) in enumerate(zip(rows, decoded, strict=True), 1):
                if isinstance(found, InputError):
                    faults[self.files[row]] = found.problem
                else:
                    images[row] = np.asarray(found.image, np.uint8)
                    grey.update({} if found.grey is None else {row: found.grey})
                    colour.update({} if found.colour is None else {row: found.colour})
                reach(done)

        rules = PixelRules(upright=self.upright)
        take(range(self.size), rules, reach)
        if faults:
            named = [f"{within(path, self.root)} ({fault})" for path, fault in faults.items()]
            raise InputError(
                self.root,
                f"{len(faults)} of {self.size:,} images cannot be read: {and_more(named, SHOWN)}",
                "fix or remove them",
            )
        if grey:
            rules = replace(rules, bits=max(8, max(grey.values()).bit_length()))
            if rules.bits != 16:
                take(list(grey), rules, lambda _: None)
        notes = deep_notes(grey.values(), colour.values(), rules.bits)
        return Source(images, self.label, self.class_names, self.test, rules=rules, notes=notes)


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


def find_own(where: Path, side: int, test: Path | None = None, upright: bool = True) -> OwnImages:
    """The images of the folder or list `where`, and the test images in `test` if given. Raises InputError."""
    root, pairs, inside = _found(where)
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
        pairs = pairs + held
        for name, found in more.items():
            both = inside.setdefault(name, Found())
            both.passed += found.passed
            both.hidden += found.hidden
    place = {name: c for c, name in enumerate(names)}
    label = np.array([place[name] for _, name in pairs], np.int64)
    files = tuple(path for path, _ in pairs)
    notes = tuple(note for note in (passed_over(inside), _almost_equal(counts)) if note)
    return OwnImages(root, files, label, tuple(names), side, upright, given, notes)


def _almost_equal(counts: Counter[str]) -> str:
    """A line on names of classes that differ only in blanks, case or Unicode form, empty if none do."""
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        key = " ".join(unicodedata.normalize("NFC", name).casefold().split())
        alike.setdefault(key, []).append(name)
    groups = []
    for names in alike.values():
        same = len({unicodedata.normalize("NFC", name) for name in names}) < len(names)
        if len(names) > 1:
            groups.append(" and ".join(f"{ascii(n) if same else repr(n)} {counts[n]}" for n in names))
    if not groups:
        return ""
    return (
        "classes whose names differ only in blanks, case or Unicode form, with their images: "
        f"{and_more(groups, SHOWN, '; ')}; each is a class of its own"
    )


def _found(where: Path) -> tuple[Path, Pairs, dict[str, Found]]:
    """The root of the images of a folder or list, the images, and what was found in class folders."""
    if where.is_dir():
        return where, *in_folders(where)
    if where.is_file():
        return where.parent, in_list(where), {}
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
    # of the file itself nothing is asked: where links lead into a cache, files of equal content are one
    known = {real_path(path.parent) / path.name for path, _ in pairs}
    both = [path for path, _ in held if real_path(path.parent) / path.name in known]
    if both:
        raise InputError(
            test,
            f"{len(both)} of its images are in {shown(where)} too: {and_more(both, SHOWN)}",
            "keep each in one of the two",
        )


def _decoded(files: Sequence[Path], rules: PixelRules, side: int) -> Iterator[Decoded | InputError]:
    """Each image as a square of this side, or what is wrong with it, in order."""

    def square(path: Path) -> Decoded | InputError:
        try:
            found = decode(path, "RGB", rules=rules)
        except InputError as error:
            return error
        return replace(found, image=fitted(found.image, side, side))

    executor = ThreadPoolExecutor(os.cpu_count())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what threads ignore is the same for all of them
            yield from executor.map(square, files)
    finally:
        executor.shutdown(cancel_futures=True)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
