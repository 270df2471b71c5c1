"""Small folders of class folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
