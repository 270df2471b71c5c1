"""Augmentation of batches, one draw per image.

All draws of a batch are made at once on the CPU, one row of numbers per image, so they depend only on the
generator and the position in the batch, not on the images or the device. The result for an image depends only
on its row: batches augmented together equal batches augmented one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longtail.training.augment import autoaugment
from longtail.training.augment.operations import read
from longtail.training.augment.second_view import DRAWS, second_view
from longtail.training.transfers import to_device

HOLE = 16
"""Side of Cutout's square, in pixels."""


@dataclass(frozen=True)
class Augment:
    """One kind of augmentation: draws, and their application."""

    draw: Callable[[int, torch.Generator], Tensor]
    """Numbers [B, draws of an image] for B images, on the CPU."""
    apply: Callable[[Tensor, Tensor], Tensor]
    """New images from images [B, channels, H, W] on any device and these numbers."""

    def __call__(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Both."""
        return self.apply(images, self.draw(len(images), draws))


def uniform(numbers: int) -> Callable[[int, torch.Generator], Tensor]:
    """Draws of [0, 1), float64 [B, numbers]."""

    def draw(images: int, draws: torch.Generator) -> Tensor:
        return torch.rand(images, numbers, generator=draws, dtype=torch.float64)

    return draw


def shift(pixels: int) -> Augment:
    """Each image moved by up to `pixels` in both directions; at the border its edge is repeated."""

    def draw(images: int, draws: torch.Generator) -> Tensor:
        return torch.randint(-pixels, pixels + 1, (2, images), generator=draws).T

    def apply(images: Tensor, moves: Tensor) -> Tensor:
        height, width = images.shape[2:]
        top, left = to_device(moves.T, images.device)
        rows = top[:, None, None] + torch.arange(height, device=images.device)[:, None]
        columns = left[:, None, None] + torch.arange(width, device=images.device)
        return read(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))

    return Augment(draw, apply)


def _cifar(images: Tensor, numbers: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.shape[1] != 3 or min(images.shape[2:]) <= HOLE:
        found = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"expected uint8 images [B, 3, H, W] of more than {HOLE} pixels a side, not {found}")
    images = _crop(images, numbers[:, :3], zeros=4, reflected=4)
    images = autoaugment.apply(images, autoaugment.choose(numbers[:, 3:-2]))
    return _cutout(images, numbers[:, -2:])


crop_flip = Augment(uniform(3), lambda images, numbers: _crop(images, numbers, zeros=4))
"""Zero-padded by four pixels, cropped at random to their size, flipped half the time, as in LDAM and MiSLAS.

Zero is black in uint8 images only.
"""

cifar = Augment(uniform(5 + autoaugment.DRAWS), _cifar)
"""The training transform of Difficulty-Net's code for CIFAR, on uint8 images [B, 3, H, W].

In this order: four reflected pixels on each side and four zeros around them, a crop of the image's size
(which moves it by up to eight), a flip half the time, AutoAugment's CIFAR-10 policy, Cutout. The released
code makes Cutout's box too wide where its left side lies inside the image; here it has the right width.

Raises ValueError for other images: AutoAugment works on grey levels, not on normalised values.
"""

AUGMENTS: dict[str, Augment] = {
    "none": Augment(uniform(0), lambda images, numbers: images),
    "shift": shift(1),
    "crop_flip": crop_flip,
    "cifar": cifar,
    "cifar_view": Augment(uniform(DRAWS), second_view),
}


def _whole(numbers: Tensor, low: int, high: int, device: torch.device) -> Tensor:
    """Uniform draws of [0, 1) as the integers `low` to `high` - 1, int64 [B, 1, 1]."""
    return to_device(low + (numbers * (high - low)).long(), device).view(-1, 1, 1)


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

    The mean over pixels and channels is rounded down, as in the released code, which assigns to integers. The
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
