"""Augmentation of batches, one draw per image.

All draws of a batch are made at once on the CPU, a row of numbers for each image, so that they depend on the
generator and the place in the batch only, not on the images or the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from longtail import autoaugment
from longtail.image_operations import read
from longtail.second_view import second_view

Augment = Callable[[Tensor, torch.Generator], Tensor]

HOLE = 16
"""Side of Cutout's square, in pixels."""


def shift(images: Tensor, draws: torch.Generator, pixels: int = 1) -> Tensor:
    """Each image [B, channels, H, W] moved by up to `pixels` in both directions.

    What comes in at the border repeats the image's edge.
    """
    batch, _, height, width = images.shape
    top, left = torch.randint(-pixels, pixels + 1, (2, batch), generator=draws).to(images.device)
    rows = top[:, None, None] + torch.arange(height, device=images.device)[:, None]
    columns = left[:, None, None] + torch.arange(width, device=images.device)
    return read(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))


def unchanged(images: Tensor, draws: torch.Generator) -> Tensor:
    """The images themselves."""
    return images


def crop_flip(images: Tensor, draws: torch.Generator) -> Tensor:
    """Padded by four zeros on each side, cropped to their size, flipped half the time: LDAM's and MiSLAS'.

    Images [B, channels, H, W]; zero is black in uint8 images only.
    """
    return _crop(images, torch.rand(len(images), 3, generator=draws, dtype=torch.float64), zeros=4)


def cifar(images: Tensor, draws: torch.Generator) -> Tensor:
    """The training transform of Difficulty-Net's code for CIFAR, on uint8 images [B, 3, H, W].

    In this order: four reflected pixels on each side and four zeros around them, a crop of the image's size
    (which moves it by up to eight), a flip half the time, AutoAugment's CIFAR-10 policy, Cutout. The released
    code makes Cutout's box too wide where its left side lies inside the image; here it has the right width.

    Raises ValueError for other images: AutoAugment works on grey levels, not on normalised values.
    """
    if images.dtype != torch.uint8 or images.shape[1] != 3 or min(images.shape[2:]) <= HOLE:
        found = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"expected uint8 images [B, 3, H, W] of more than {HOLE} pixels a side, not {found}")
    numbers = torch.rand(len(images), 5 + autoaugment.DRAWS, generator=draws, dtype=torch.float64)
    images = _crop(images, numbers[:, :3], zeros=4, reflected=4)
    images = autoaugment.apply(images, autoaugment.choose(numbers[:, 3:-2]))
    return _cutout(images, numbers[:, -2:])


AUGMENTS: dict[str, Augment] = {
    "none": unchanged,
    "shift": shift,
    "crop_flip": crop_flip,
    "cifar": cifar,
    "cifar_view": second_view,
}


def _whole(numbers: Tensor, low: int, high: int, device: torch.device) -> Tensor:
    """Uniform draws of [0, 1) as the integers `low` to `high` - 1, int64 [B, 1, 1]."""
    return (low + (numbers * (high - low)).long()).to(device).view(-1, 1, 1)


def _crop(images: Tensor, numbers: Tensor, zeros: int, reflected: int = 0) -> Tensor:
    """Padded, cropped at random to their size, and flipped for half of the draws [B, 3].

    The padding is `reflected` pixels without the edge itself, then `zeros` around them.
    """
    height, width = images.shape[2:]
    pad, device = reflected + zeros, images.device
    top, left = (_whole(numbers[:, axis], -pad, pad + 1, device) for axis in (0, 1))
    flipped = _whole(numbers[:, 2], 0, 2, device) == 1
    x = torch.arange(width, device=device)
    rows = top + torch.arange(height, device=device)[:, None]
    columns = left + torch.where(flipped, width - 1 - x, x)
    return read(images, _reflect(rows, height, reflected), _reflect(columns, width, reflected))


def _reflect(places: Tensor, side: int, reflected: int) -> Tensor:
    """Places up to `reflected` outside 0..side - 1 mirrored at the edge pixel, those further out at -1."""
    mirrored = side - 1 - (side - 1 - places.abs()).abs()
    return torch.where((places >= -reflected) & (places < side + reflected), mirrored, -1)


def _cutout(images: Tensor, numbers: Tensor) -> Tensor:
    """A square of `HOLE` pixels, clipped to the image, filled with the mean of the image's values.

    The mean over pixels and channels is rounded down, as the released code's assignment to integers does. The
    square begins anywhere from half of it outside to the last place but one at which all of it is inside.
    """
    channels, height, width = images.shape[1:]
    device = images.device
    mean = images.sum(dim=(1, 2, 3), dtype=torch.int32) // (channels * height * width)
    top = _whole(numbers[:, 0], -(HOLE // 2), height - HOLE, device)
    left = _whole(numbers[:, 1], -(HOLE // 2), width - HOLE, device)
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    hole = (((y >= top) & (y < top + HOLE)) & ((x >= left) & (x < left + HOLE)))[:, None]
    return images * ~hole + mean.to(torch.uint8).view(-1, 1, 1, 1) * hole
