"""The handwritten digits that scikit-learn ships."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtail.data.source import Reach, Source


@dataclass(frozen=True)
class Digits:
    """The 1,797 handwritten digits (8x8, one channel) that scikit-learn ships; no download.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part). Pixel
    values 0..16 are scaled to 0..255; distinct values stay distinct.
    """

    bundled: bool = True
    size: int = 1797

    def read(self, origin: str | None, downloads: Path, reach: Reach) -> Source:
        """All of them, at once."""
        from sklearn.datasets import load_digits

        ink, label = load_digits(return_X_y=True)
        images = (np.asarray(ink, np.int64).reshape(-1, 8, 8, 1) * 255 + 8) // 16
        return Source(images.astype(np.uint8), np.asarray(label, np.int64), tuple("0123456789"))
