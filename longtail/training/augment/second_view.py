"""The second view of a contrastive method on a batch of uint8 images, as SimCLR makes it.

T. Chen, S. Kornblith, M. Norouzi, G. Hinton. A Simple Framework for Contrastive Learning of Visual
Representations. ICML 2020; with PaCo's settings (J. Cui et al., ICCV 2021). For CIFAR: a crop of 20 to 100 %
of the area, a flip half the time, jitter of brightness, contrast and saturation by up to .4 and of hue by up
to .1, in a random order, for 80 % of the images, grey for 20 %, blur for 50 %. For photographs the crop is
8 to 100 % of the area, and every image is jittered, but not in hue.

The operations are torchvision's. The crop is enlarged with bilinear interpolation. The blur's deviation is
uniform in .1 to 2 pixels, its kernel 13 wide; PaCo's code blurs with Pillow, which approximates a Gaussian by
boxes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.training.augment.autoaugment import NOTHING, Choices, apply
from longtail.training.augment.operations import Operation, brightness, colour, contrast, read
from longtail.training.transfers import to_device

RATIO = (3 / 4, 4 / 3)
TRIES = 10
"""How many crops are tried; if none fits, the whole image is used."""

GREY, BLUR = 0.2, 0.5
DEVIATIONS = (0.1, 2.0)
REACH = 6
"""Pixels on each side that the blur reads."""

DRAWS = 2 * TRIES + 15


@dataclass(frozen=True)
class Strengths:
    """Of the crop and the jitter."""

    area: tuple[float, float]
    """Of the crop, as a share of the image."""
    jitter: float
    """Probability."""
    amounts: tuple[float, float, float, float]
    """Largest change of brightness, contrast, saturation (factors around 1) and hue (turns); 0 leaves it."""


CIFAR = Strengths(area=(0.2, 1.0), jitter=0.8, amounts=(0.4, 0.4, 0.4, 0.1))
PHOTOGRAPHS = Strengths(area=(0.08, 1.0), jitter=1.0, amounts=(0.4, 0.4, 0.4, 0.0))


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Hue rotated by a share of the circle; within one grey level of torchvision."""
    values = images.float() / 255
    red, green, blue = values.unbind(1)
    top = values.amax(1)
    chroma = top - values.amin(1)
    span = torch.where(chroma == 0, 1, chroma)
    sixths = torch.where(top == green, (blue - red) / span + 2, (red - green) / span + 4)
    sixths = torch.where(top == red, (green - blue) / span, sixths)
    sixths = sixths + 6 * to_device(turns.float(), images.device).view(-1, 1, 1)
    # a channel falls from the highest to the lowest value and rises again, two sixths after the one before
    starts = 5 - 2 * torch.arange(3.0, device=images.device)
    distance = (sixths[:, None] + starts.view(-1, 1, 1)) % 6
    share = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return ((top[:, None] - chroma[:, None] * share) * 255.999).to(torch.uint8)


def blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Gaussian blur, reflected at the edges; within one grey level of torchvision with the same kernel."""
    height, width = images.shape[2:]
    offsets = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    kernels = torch.exp(-((offsets / deviations[:, None]) ** 2) / 2)
    kernels = to_device((kernels / kernels.sum(1, keepdim=True)).float(), images.device)
    shares = kernels.view(len(images), -1, 1, 1, 1).unbind(1)
    padded = F.pad(images.float(), (REACH,) * 4, mode="reflect")
    across = _total([share * padded[..., at : at + width] for at, share in enumerate(shares)])
    both = _total([share * across[..., at : at + height, :] for at, share in enumerate(shares)])
    return both.round_().to(torch.uint8)


def _total(parts: list[Tensor]) -> Tensor:
    # summed in the same order on every device
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


OPERATIONS: dict[str, Operation] = {
    "Brightness": brightness,
    "Contrast": contrast,
    "Color": colour,
    "Hue": hue,
    "Blur": blur,
}


def second_view(images: Tensor, numbers: Tensor) -> Tensor:
    """Another view of small uint8 images [B, 3, H, W], 7 pixels a side or more; `numbers` [B, `DRAWS`].

    Raises ValueError for images that are not uint8 with three channels.
    """
    if images.dtype != torch.uint8 or images.shape[1] != 3:
        raise ValueError(f"expected uint8 images [B, 3, H, W], not {images.dtype} {list(images.shape)}")
    height, width = images.shape[2:]
    boxes = choose_boxes(numbers[:, : 2 * TRIES + 2], height, width, CIFAR.area)
    images = resized_crop(images, boxes, flipped=numbers[:, 2 * TRIES + 2] >= 0.5)
    return apply(images, choose(numbers[:, 2 * TRIES + 3 :], CIFAR), OPERATIONS)


def choose(draws: Tensor, strengths: Strengths) -> Choices:
    """Jitter in four rounds of any order, grey, blur: from uniform draws, float64 [B, 12]."""
    jitter, order, signed = draws[:, 0] < strengths.jitter, draws[:, 1:5].argsort(dim=1).T, draws[:, 5:9].T
    ranges = torch.tensor(strengths.amounts, dtype=torch.float64)[:, None]
    centres = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    amounts = (centres + ranges * (2 * signed - 1)).gather(0, order)
    jittered = jitter & (ranges.squeeze(1)[order] > 0)
    names = list(OPERATIONS)
    grey = torch.where(draws[:, 9] < GREY, names.index("Color"), NOTHING)
    blurred = torch.where(draws[:, 10] < BLUR, names.index("Blur"), NOTHING)
    low, high = DEVIATIONS
    return Choices(
        torch.stack([*torch.where(jittered, order, NOTHING), grey, blurred]),
        torch.stack(
            [*amounts, torch.zeros(len(draws), dtype=torch.float64), low + (high - low) * draws[:, 11]]
        ),
    )


def choose_boxes(draws: Tensor, height: int, width: int, shares: tuple[float, float]) -> Tensor:
    """Boxes to crop, int64 [B, 4]: top, left, height, width; from draws float64 [B, 2 TRIES + 2].

    The first try that fits, with its area a uniform share of the image and its ratio of width to height
    log-uniform.
    """
    tries = draws[:, : 2 * TRIES].view(-1, 2, TRIES)
    area = height * width * (shares[0] + (shares[1] - shares[0]) * tries[:, 0])
    lowest, highest = (math.log(ratio) for ratio in RATIO)
    ratio = (lowest + (highest - lowest) * tries[:, 1]).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    fitting = fits.any(dim=1)
    high = torch.where(fitting, heights.gather(1, first)[:, 0], height)
    wide = torch.where(fitting, widths.gather(1, first)[:, 0], width)
    top = (draws[:, -2] * (height - high + 1)).floor()
    left = (draws[:, -1] * (width - wide + 1)).floor()
    return torch.stack([top, left, high, wide], dim=1).long()


def resized_crop(images: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
    """Boxes [B, 4] of the images enlarged to the images' size (bilinear), then flipped where [B] says so."""
    top, left, high, wide = boxes.unbind(1)
    row, below, down = (
        to_device(part, images.device)[:, :, None] for part in _between(top, high, images.shape[2])
    )
    parts = _between(left, wide, images.shape[3])
    column, beside, right = (
        to_device(torch.where(flipped[:, None], part.flip(1), part), images.device)[:, None] for part in parts
    )
    down, right = down[:, None], right[:, None]
    upper = read(images, row, column) * (1 - right) + read(images, row, beside) * right
    lower = read(images, below, column) * (1 - right) + read(images, below, beside) * right
    return (upper * (1 - down) + lower * down).round().to(torch.uint8)


def _between(start: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For `side` places over each stretch: the pixel before, the one after (int64), the share of the latter.

    Each [B, side], shares float32.
    """
    length = length[:, None]
    places = ((torch.arange(side) + 0.5) * (length.double() / side) - 0.5).clamp(min=0)
    before = places.floor()
    after = torch.minimum(before + 1, length - 1)
    return (start[:, None] + before).long(), (start[:, None] + after).long(), (places - before).float()
