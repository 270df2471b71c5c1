"""The images of official lists, read from their files: a pool has each one's path and hash."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtail.config.benchmarks import Totals
from longtail.data.image_lists import LongTailed, long_tailed, read_list
from longtail.data.image_roots import BadImage, check_files, located
from longtail.data.pools import Pool, sorted_pool
from longtail.data.source import Reach
from longtail.errors import InputError, shown

SHOWN = 5
"""How many bad images an error names."""
SPLITS = ("source", "val", "test")
"""Of the train, val and test list, in a pool."""


def find_listed(folder: Path, root: Path, totals: Totals) -> LongTailed:
    """The lists in `folder` of images below `root`, which are all there. Raises InputError.

    The figures of the lists must be the published ones.
    """
    train, val, test = (read_list(folder / totals.list_name(part), root) for part in ("train", "val", "test"))
    lists = located(long_tailed(train, val, test, totals))
    check_files(lists)
    return lists


def class_names(lists: LongTailed) -> tuple[str, ...]:
    """C names: the training folder, if each class has its own, else the label."""
    folders: list[set[str]] = [set() for _ in lists.counts]
    for path, label in zip(lists.train.path, lists.train.label.tolist(), strict=True):
        folders[label].add(path.rpartition("/")[0].removeprefix("train/"))
    names = [min(found) for found in folders]
    if all(len(found) == 1 for found in folders) and len(set(names)) == len(names) and all(names):
        return tuple(names)
    return tuple(map(str, lists.original_label))


def content_hashes(lists: LongTailed, reach: Reach) -> NDArray[np.str_]:
    """Hex sha256 of the bytes of each file, train, val and test one after the other. Raises InputError."""
    files = [file for part in lists.sets for file in part.files]
    hashes: list[str] = []
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:  # reading and hashing release the GIL
        for file, content in zip(files, pool.map(_content, files), strict=True):
            if content is None:
                pool.shutdown(cancel_futures=True)
                raise InputError(file, "empty, or cannot be read", "copy it again")
            hashes.append(content)
            reach(len(hashes))
    return np.array(hashes)


def _content(file: Path) -> str | None:
    try:
        found = file.read_bytes()
    except OSError:
        return None
    return hashlib.sha256(found).hexdigest() if found else None


def listed_pool(
    lists: LongTailed,
    hashes: NDArray[np.str_],
    *,
    benchmark: str,
    data_seed: int,
    image_shape: tuple[int, int, int],
) -> Pool:
    """The pool of all images of `lists`, which have these `hashes`; copies of test images are kept."""
    parts = [np.full(len(part.path), split) for part, split in zip(lists.sets, SPLITS, strict=True)]
    pool = sorted_pool(
        Pool(
            benchmark=benchmark,
            class_names=class_names(lists),
            data_seed=data_seed,
            test_per_class=None,
            duplicates="keep",
            drawn_by="content",
            image_shape=image_shape,
            image=np.arange(len(hashes)),
            label=np.concatenate([part.label for part in lists.sets]),
            split=np.concatenate(parts),
            hash=hashes,
            path=np.array([path for part in lists.sets for path in part.path]),
            original_label=lists.original_label,
        )
    )
    return pool


def check_decoded(root: Path, bad: list[BadImage], images: int) -> None:
    """Raise InputError if there are bad images, with how many and the first five."""
    if bad:
        first = ", ".join(f"{shown(image.file.relative_to(root))} ({image.reason})" for image in bad[:SHOWN])
        more = f", and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise InputError(
            root, f"{len(bad):,} of {images:,} images cannot be used: {first}{more}", "copy them again"
        )
