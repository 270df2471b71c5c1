"""Which images a set holds: decided by a hash of (seed, stream, image content), not by file order.

So the sets are the same for every source of the images, and nested: of two sets drawn from the same images
with the same seed and stream, the one with fewer images per class is a subset of the other. Each purpose
('test', 'meta', 'train') has its own stream, so a larger meta set changes the training set only where it
takes images from it.

Data sets contain byte-identical images, sometimes with two labels. Copies rank last in their class, so
held-out sets avoid them, and a content that one set takes is removed from all later ones (`remaining`).

`in_order` is the other rule, for protocols that follow the order of a data set's files.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longtail.errors import InputError


def select(
    hashes: NDArray[np.str_], labels: NDArray[np.int64], counts: Sequence[int], *, seed: int, stream: str
) -> NDArray[np.int64]:
    """Rows of the first counts[c] images of each class c, sorted by class, then by rank.

    `hashes` and `labels` are [N], one entry per image, labels in 0..C-1; `counts` is [C].
    Raises InputError if a class has fewer images than asked for.
    """
    _check_sizes(labels, counts, stream)
    contents, content_of, copies = np.unique(hashes, return_inverse=True, return_counts=True)
    keys = [hashlib.sha256(f"{seed}|{stream}|{content}".encode()).digest() for content in contents.tolist()]
    rank = np.empty(len(keys), np.int64)
    rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return _first(np.lexsort((rank[content_of], copies[content_of] > 1, labels)), labels, counts)


def in_order(
    place: NDArray[np.int64], labels: NDArray[np.int64], counts: Sequence[int], *, stream: str
) -> NDArray[np.int64]:
    """As `select`, by ascending `place` [N] instead of the hash: no seed, and copies do not rank last."""
    _check_sizes(labels, counts, stream)
    return _first(np.lexsort((place, labels)), labels, counts)


def _first(order: NDArray[np.int64], labels: NDArray[np.int64], counts: Sequence[int]) -> NDArray[np.int64]:
    """The first counts[c] rows of class c in `order`, which is sorted by class."""
    sizes = np.bincount(labels, minlength=len(counts))
    ordered = labels[order]
    place = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[ordered]
    return order[place < np.asarray(counts, np.int64)[ordered]]


def _check_sizes(labels: NDArray[np.int64], counts: Sequence[int], stream: str) -> None:
    sizes = np.bincount(labels, minlength=len(counts))
    for label, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if size < count:
            raise InputError(
                f"class {label} (counted from 0)",
                f"{count} images wanted for the {stream} set, {size} left",
                "add images to it or ask for fewer",
            )


def remaining(hashes: NDArray[np.str_], taken: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows of `hashes` whose content is not among `taken`, in their order."""
    return np.flatnonzero(~np.isin(hashes, taken))
