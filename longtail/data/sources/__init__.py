"""Where images come from, by the names that benchmarks use.

A source gives all its images, their labels and the names of the classes, and where a data set has an
official test part, which images that is. Your own images (`own`) are found first: see
`longtail.data.sources.own`.
"""

from longtail.data.source import Reader, Source
from longtail.data.sources.cifar import CIFAR10, CIFAR100
from longtail.data.sources.digits import Digits

__all__ = ["SOURCES", "Reader", "Source"]

SOURCES: dict[str, Reader] = {"digits": Digits(), "cifar100": CIFAR100, "cifar10": CIFAR10}
