"""The images that lists name: whether they are below the root, and whether they can be decoded.

`located` and `check_files` only list folders; `verify`, if the user asks for it, decodes every image.
"""

import multiprocessing
import os
import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from longtail.data.image_files import read_image
from longtail.data.image_folders import leads_out
from longtail.data.image_lists import LongTailed
from longtail.errors import InputError, shown

VAL = "val"
CHUNK = 32
"""Images that a process checks before it reports."""

Chunk = list[Path]


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, and why."""

    file: Path
    reason: str


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
            lists.test.root / VAL,
            "without a folder a class, but files of different classes share their names",
            f"make the folders that {shown(lists.test.file)} names",
        )
    test = replace(lists.test, path=tuple(f"{VAL}/{name}" for name in names))
    return replace(lists, test=test, flat_val=True)


def missing(root: Path, paths: Iterable[str]) -> list[str]:
    """The `paths`, in order, that are not files below `root`.

    Each folder is listed once; files are not checked one by one. Raises InputError for a symbolic link on
    the way to a file that leaves the root, and for a folder that cannot be listed.
    """
    asked = list(paths)
    files_of = {folder: _entries(root, folder)[0] for folder in {posixpath.dirname(path) for path in asked}}
    absent: list[str] = []
    for path in asked:
        folder, name = posixpath.split(path)
        if name not in files_of[folder]:
            absent.append(path)
        elif files_of[folder][name] and leads_out(root / path, root):
            raise InputError(root / path, "a symbolic link that leaves the root", "copy the file")
    return absent


def _entries(root: Path, folder: str) -> tuple[dict[str, bool], set[str]]:
    """A folder's files below `root`, each with whether it is a symbolic link, and its subfolders."""
    place = root / folder
    if leads_out(place, root):
        raise InputError(place, "a symbolic link leads it out of the root", "copy the folder")
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
        raise InputError(place, error.strerror) from None
    return files, folders


def check_files(lists: LongTailed) -> None:
    """Raise InputError if files of the lists are missing, with how many and the first five."""
    check_paths(lists.train.root, [path for part in lists.sets for path in part.path])


def check_paths(root: Path, asked: Sequence[str]) -> None:
    """Raise InputError if some of these paths are no files below `root`, with how many and the first five."""
    if not root.is_dir():
        raise InputError(root, "not a folder", "give the root of the images")
    absent = missing(root, asked)
    if absent:
        first = ", ".join(map(shown, absent[:5]))
        remedy = (
            "add them" if len(absent) < len(asked) else "give the folder that the paths in the lists begin in"
        )
        raise InputError(
            root, f"{len(absent):,} of {len(asked):,} images are missing (first: {first})", remedy
        )


def verify(
    files: Sequence[Path], workers: int, reach: Callable[[int], object] = lambda count: None
) -> list[BadImage]:
    """Decode every image in `workers` processes; the bad ones, in the order of `files`.

    `reach` is called with the number done. Bad are empty and truncated files, files that are not images, and
    images of too many pixels (`longtail.data.image_files`). An image that kills the process decoding it is
    named too. Processes are spawned: a script that calls this needs the usual guard of its main module.
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
    # not forked: the calling process may have torch's threads
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # if a process cannot even start, no image is to blame
        yield pool


def _decoded(files: Sequence[Path], workers: int) -> Iterator[tuple[Chunk, list[BadImage] | None]]:
    """Chunks of `files` with their bad images; None for chunks in progress when a process died."""
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
