"""Small folders of class folders, and lists of what is in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from longtail.data.sources.own import OwnImages
from longtail.errors import InputError

SIZES = {"rare": 8, "common": 30, "middle": 15}


def picture(seed: int, size: tuple[int, int] = (12, 9)) -> Image.Image:
    """Noise, (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


def build(root: Path, sizes: dict[str, int] | None = None, first: int = 0) -> Path:
    """Class folders of small images, all different; `first` numbers the classes, for other images."""
    for place, (name, count) in enumerate((sizes or SIZES).items(), start=first):
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(1000 * place + number).save(root / name / f"{number:03}.png")
    return root


def refusal(action: Callable[[], object]) -> str:
    """The one line in which `action` is refused."""
    with pytest.raises(InputError) as refused:
        action()
    message = str(refused.value)
    assert "\n" not in message
    return message


def read(found: OwnImages) -> Any:
    """The source of the images, which lie where they were found."""
    return found.read(None, Path("nowhere"), lambda _: None)


def write_list(path: Path, rows: list[tuple[Any, Any]]) -> Path:
    """A list of paths and labels, as csv or parquet."""
    paths, labels = zip(*rows, strict=True)
    if path.suffix == ".csv":
        lines = [f'"{one}","{label}"' for one, label in rows]
        path.write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.table({"label": list(labels), "other": [0] * len(rows), "path": list(paths)}), path)
    return path


def listed(photos: Path) -> list[tuple[str, str]]:
    """All images of `photos` with their classes, by paths that a list beside it would have."""
    return [
        (str(path.relative_to(photos.parent)), path.parent.name) for path in sorted(photos.rglob("*.png"))
    ]


def outside(photos: Path) -> Path:
    """A folder with an image beside `photos`."""
    path = photos.parent / "outside"
    path.mkdir()
    picture(5).save(path / "x.png")
    return path
