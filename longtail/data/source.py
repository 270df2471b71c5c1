"""What a source of images provides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
