"""What a source of images provides."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from longtail.data.image_files import UPRIGHT, PixelRules

Reach = Callable[[int], object]
"""Called with the number of images read."""


@dataclass(frozen=True, eq=False)
class Source:
    """The images of a data set: uint8 [N, H, W, channels], labels [N] in 0..C-1, and C names.

    `test` [N] says which images are the official test part; None: there is none, a test set is drawn.
    `in_file_order`: the images are in the order of the data set's original files. Otherwise their
    order means nothing.
    """

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    class_names: tuple[str, ...]
    test: NDArray[np.bool_] | None = None
    in_file_order: bool = False
    rules: PixelRules = UPRIGHT
    """How image files became these pixels."""
    notes: tuple[str, ...] = ()
    """Lines about what was found in reading them."""

    @cached_property
    def hashes(self) -> NDArray[np.str_]:
        """`image_hash` of each image, [N]."""
        return np.array([image_hash(image) for image in self.images])

    def part(self, stays: NDArray[np.bool_]) -> "Source":
        """The images that `stays` [N] marks, under the same classes."""
        test = None if self.test is None else self.test[stays]
        return replace(self, images=self.images[stays], label=self.label[stays], test=test)


def image_hash(image: NDArray[Any]) -> str:
    """Hex sha256 of dtype, shape and values: of `uint8|8,8,1|` and the bytes in C order."""
    return hashlib.sha256(_head(image.dtype, image.shape) + image.tobytes()).hexdigest()


@cache  # spelling a dtype takes longer than hashing a small image
def _head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return f"{dtype}|{','.join(map(str, shape))}|".encode()


class Reader(Protocol):
    """Reads a source."""

    @property
    def bundled(self) -> bool:
        """Whether the images come with an installed package; otherwise the user gives their location."""
        ...

    @property
    def size(self) -> int:
        """How many images there are."""
        ...

    def read(self, origin: str | None, downloads: Path, reach: Reach) -> Source:
        """The images at the path `origin`; where that is 'download', fetched into the folder `downloads`.

        A bundled source is read with None. Raises InputError naming the file, what is wrong, the remedy.
        """
        ...
