"""The published figures of benchmarks that official lists of files define."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Totals:
    """Images of each set, classes, the largest and smallest of them by training images."""

    name: str
    train: int
    val: int
    test: int
    classes: int
    largest: int
    smallest: int

    @property
    def imbalance(self) -> float:
        """n_max / n_min."""
        return self.largest / self.smallest

    def list_name(self, part: str) -> str:
        """The file of the list of 'train', 'val' or 'test' images: `Places_LT_train.txt`."""
        return f"{self.name.replace('-', '_')}_{part}.txt"


IMAGENET_LT = Totals("ImageNet-LT", 115_846, 20_000, 50_000, classes=1000, largest=1280, smallest=5)
PLACES_LT = Totals("Places-LT", 62_500, 7_300, 36_500, classes=365, largest=4980, smallest=5)
