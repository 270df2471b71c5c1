"""Augmentation of batches, one draw per image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]


def shift(images: Tensor, draws: torch.Generator, pixels: int = 1) -> Tensor:
    """Each image [B, channels, H, W] moved by up to `pixels` in both directions.

    What comes in at the border repeats the image's edge.
    """
    batch, _, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * pixels + 1, (2, batch), generator=draws).to(images.device)
    rows = (top[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[image, channel, rows, columns]


def unchanged(images: Tensor, draws: torch.Generator) -> Tensor:
    """The images themselves."""
    return images


AUGMENTS: dict[str, Augment] = {"none": unchanged, "shift": shift}
