"""CIFAR-10 and CIFAR-100, from the original archive or parquet files.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The images are read from the
original Python archive (or the folder that it unpacks to), or from parquet files in the layout of the public
`uoft-cs/cifar10` and `uoft-cs/cifar100`. All have the same pixels.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtail.config.params import DOWNLOAD
from longtail.data.source import Reach, Source
from longtail.data.sources import parquet
from longtail.data.sources.original import unpickled
from longtail.errors import InputError, flat

SHAPE = (32, 32, 3)
PARTS = ("train", "test")

Block = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets. Checksums are the published MD5 sums, as torchvision has them."""

    name: str
    class_names: tuple[str, ...]
    per_class: Mapping[str, int]
    """Images of each class in 'train' and 'test'."""
    url: str
    md5: str
    folder: str
    """The folder that the archive unpacks to."""
    files: Mapping[str, Mapping[str, str]]
    """MD5 by file name, in the order of the images, of 'train' and 'test'."""
    pickled_label: str
    parquet_label: str
    bundled: bool = False

    @property
    def size(self) -> int:
        """How many images there are."""
        return len(self.class_names) * sum(self.per_class.values())

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1]

    def read(self, origin: str | None, downloads: Path, reach: Reach) -> Source:
        """All images, training part first; see `Reader`."""
        path = self._download(downloads) if origin == DOWNLOAD else Path(origin or "")
        found = self._find(path)
        original = not self._is_parquet(found)
        images, label = np.empty((self.size, *SHAPE), np.uint8), np.empty(self.size, np.int64)
        row = 0
        for pixels, values in self._original(found) if original else self._parquet(found):
            images[row : row + len(values)], label[row : row + len(values)] = pixels, values
            row += len(values)
            reach(row)
        test = np.arange(self.size) >= self._expected("train")
        self._check(found, "training", label[~test], self.per_class["train"])
        self._check(found, "test", label[test], self.per_class["test"])
        return Source(images, label, self.class_names, test, in_file_order=original)

    def _expected(self, part: str) -> int:
        return len(self.class_names) * self.per_class[part]

    def _find(self, path: Path) -> Path:
        """The archive, the folder that it unpacks to, or the folder of parquet files, at or in `path`."""
        if path.is_file():
            return path
        if not path.is_dir():
            raise InputError(path, "no such file or folder", f"give {self._wanted()}")
        for folder in (path, path / self.folder):
            if any((folder / name).is_file() for name in self.files["train"]):
                return folder
        if (path / self.archive).is_file():
            return path / self.archive
        if self._is_parquet(path):
            return path
        raise InputError(path, f"holds no {self.name}", f"give {self._wanted()}")

    def _wanted(self) -> str:
        return (
            f"the original {self.archive}, the folder {self.folder} that it unpacks to, "
            f"or a folder with train-*.parquet and test-*.parquet"
        )

    @staticmethod
    def _is_parquet(path: Path) -> bool:
        return any(any(path.glob(f"{part}-*.parquet")) for part in PARTS)

    def _parquet(self, folder: Path) -> Iterator[Block]:
        for part in PARTS:
            yield from parquet.blocks(folder, part, self.parquet_label, SHAPE, self._expected(part))

    def _original(self, found: Path) -> Iterator[Block]:
        """The images of the original files, none of which is unpickled unless its checksum is right."""
        for path, content, md5 in self._members(found) if found.is_file() else self._files(found):
            self._compare(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), md5)
            facts = unpickled(content)
            pixels = facts["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            yield pixels, np.asarray(facts[self.pickled_label], np.int64)

    def _files(self, folder: Path) -> Iterator[tuple[Path, bytes, str]]:
        for name, md5 in self._published.items():
            path = folder / name
            if not path.is_file():
                raise InputError(path, "no such file", f"unpack {self.archive} again ({self.url})")
            yield path, path.read_bytes(), md5

    def _members(self, path: Path) -> Iterator[tuple[Path, bytes, str]]:
        names = {f"{self.folder}/{name}": name for name in self._published}
        with path.open("rb") as file:
            self._compare(path, hashlib.file_digest(file, "md5").hexdigest(), self.md5)
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                found = {
                    names[member.name]: opened.read()
                    for member in archive
                    if member.name in names and (opened := archive.extractfile(member))
                }
        for name, md5 in self._published.items():
            yield path / self.folder / name, found.pop(name), md5

    @property
    def _published(self) -> dict[str, str]:
        """Checksums by file name, in the order of the images."""
        return {name: md5 for part in PARTS for name, md5 in self.files[part].items()}

    def _compare(self, path: Path, found: str, published: str) -> None:
        if found != published:
            raise InputError(
                path,
                f"MD5 {found}, published is {published}: truncated, or not the original {self.name}",
                f"fetch {self.archive} again ({self.url})",
            )

    def _check(self, path: Path, part: str, label: NDArray[np.int64], expected: int) -> None:
        """Raise InputError unless `label` has `expected` images of every class."""
        outside = label[(label < 0) | (label >= len(self.class_names))]
        if len(outside):
            raise InputError(
                path,
                f"label {outside[0]} among the {part} images, expected 0 to {len(self.class_names) - 1}: "
                f"not {self.name}",
                f"give {self._wanted()}",
            )
        counts = np.bincount(label, minlength=len(self.class_names))
        wrong = np.flatnonzero(counts != expected)
        if len(wrong):
            raise InputError(
                path,
                f"{counts[wrong[0]]} {part} images of class {wrong[0]} ('{self.class_names[wrong[0]]}'), "
                f"expected {expected}: not {self.name} as published",
                f"give {self._wanted()}",
            )

    def _download(self, folder: Path) -> Path:
        """The archive in `folder`, fetched by torchvision unless it is already there."""
        from torchvision.datasets.utils import download_url

        try:
            download_url(self.url, folder, filename=self.archive, md5=self.md5)
        except (OSError, RuntimeError) as error:
            reason = flat(error)
            raise InputError(
                self.url,
                f"could not be fetched into {folder} ({reason})",
                f"try again, or give {self._wanted()}",
            ) from None
        return folder / self.archive


CIFAR10 = Cifar(
    name="CIFAR-10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    per_class={"train": 5000, "test": 1000},
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    files={
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    pickled_label="labels",
    parquet_label="label",
)

CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo",
    "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree",
    "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree",
    "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
    "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe",
    "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip

CIFAR100 = Cifar(
    name="CIFAR-100",
    class_names=CIFAR100_CLASSES,
    per_class={"train": 500, "test": 100},
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    files={
        "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
        "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    pickled_label="fine_labels",
    parquet_label="fine_label",
)
