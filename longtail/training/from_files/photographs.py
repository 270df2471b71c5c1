"""Views of single photographs, by torchvision's operations on PIL images, from given draws.

Training: reflected padding, a random resized crop, a flip half the time, jitter of brightness, contrast and
saturation in a random order (the transform of Difficulty-Net's code for ImageNet-LT and Places-LT, without
RandAugment). Test and meta images: the shorter side to 256 for a 224-pixel network, then a centre crop.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from longtail.training.augment import second_view

tv: Any = functional
"""Typed for tensors only, but torchvision's transforms use it on PIL images too."""

Draws = Tensor
"""Uniform numbers of [0, 1), float64 [`DRAWS`], of one image."""

PADDING = 4
AREA = (0.08, 1.0)
"""Of the crop, as a share of the padded image: torchvision's default."""
JITTER = 0.4
"""Factors of brightness, contrast and saturation lie within 1 -/+ this."""
RESIZED = 256 / 224
"""Shorter side of a test image before the centre crop, relative to the crop's side."""

BOX = 2 * second_view.TRIES + 2
DRAWS = second_view.DRAWS
"""Numbers per image; the first `BOX` choose the crop."""

ADJUSTMENTS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
ORDERS = tuple(permutations(range(len(ADJUSTMENTS))))


def photo(image: Image.Image, draws: Draws, side: int) -> Image.Image:
    """The training view of an RGB image, `side` x `side`."""
    padded = tv.pad(image, [PADDING], padding_mode="reflect")
    crop = _crop(padded, draws, side, AREA)
    flip, order, *strengths = draws[BOX : BOX + 5].tolist()
    if flip >= 0.5:
        crop = tv.hflip(crop)
    for place in ORDERS[int(order * len(ORDERS))]:
        crop = ADJUSTMENTS[place](crop, 1 + JITTER * (2 * strengths[place] - 1))
    return crop


def photo_view(image: Image.Image, draws: Draws, side: int) -> Image.Image:
    """The second view of an RGB image, `side` x `side`, as `second_view` makes that of photographs."""
    strengths = second_view.PHOTOGRAPHS
    crop = _crop(image, draws, side, strengths.area)
    if draws[BOX] >= 0.5:
        crop = tv.hflip(crop)
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None]
    changed = second_view.apply(
        pixels, second_view.choose(draws[None, BOX + 1 :], strengths), second_view.OPERATIONS
    )
    return Image.fromarray(changed[0].permute(1, 2, 0).contiguous().numpy())


def centre(image: Image.Image, side: int) -> Image.Image:
    """The test view of an RGB image, `side` x `side`: nothing is drawn."""
    resized = tv.resize(image, [round(RESIZED * side)])
    return tv.center_crop(resized, [side])


VIEWS: dict[str, Callable[[Image.Image, Draws, int], Image.Image]] = {
    "photo": photo,
    "photo_view": photo_view,
}


def _crop(image: Image.Image, draws: Draws, side: int, area: tuple[float, float]) -> Image.Image:
    box = second_view.choose_boxes(draws[None, :BOX], image.height, image.width, area)
    top, left, height, width = box[0].tolist()
    return tv.resized_crop(image, top, left, height, width, [side, side])


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB image as uint8 [3, H, W]."""
    return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))
