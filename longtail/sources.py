"""Where images come from: each source gives all its images, their labels and the names of the classes.

A source is one function, named in `SOURCES` as benchmarks name it. Their order of images means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Source:
    """The images of a data set: uint8 [N, H, W, channels], labels [N] in 0..C-1, and C names."""

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    class_names: tuple[str, ...]


def digits() -> Source:
    """The 1,797 handwritten digits (8x8, one channel) that scikit-learn ships; no download.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part). Ink of
    0..16 becomes 0..255, different values staying different.
    """
    from sklearn.datasets import load_digits

    ink, label = load_digits(return_X_y=True)
    images = (np.asarray(ink, np.int64).reshape(-1, 8, 8, 1) * 255 + 8) // 16
    return Source(images.astype(np.uint8), np.asarray(label, np.int64), tuple("0123456789"))


SOURCES: dict[str, Callable[[], Source]] = {"digits": digits}
