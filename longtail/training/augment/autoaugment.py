"""AutoAugment's CIFAR-10 policy on a batch, one sub-policy drawn for each image.

E. D. Cubuk, B. Zoph, D. Mane, V. Vasudevan, Q. V. Le. AutoAugment: Learning Augmentation Strategies from
Data. CVPR 2019: the policy is their Table 7, the ranges of the magnitudes their Table 6.

Magnitudes follow the code released with Difficulty-Net: index i of the table is a uniform draw between
points i and i + 1 of eleven evenly spaced ones over the *signed* range, so that an index has one direction
(TranslateY 9, which four sub-policies have, always moves far up), and a higher one posterises and solarises
less. torchvision's AutoAugment takes ten points over the unsigned range, draws a sign, and counts those two
downwards. The operations are torchvision's, translations and rotations in the direction of the release.
ShearY is the published vertical shear; the release shears horizontally about the centre under that name.
The release interpolates between pixels; here the nearest is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from longtail.training.augment.operations import OPERATIONS, Operation
from longtail.training.transfers import to_device

RANGES: dict[str, tuple[float, float]] = {
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "TranslateX": (-150 / 331, 150 / 331),
    "TranslateY": (-150 / 331, 150 / 331),
    "Rotate": (-30, 30),
    "Brightness": (0.1, 1.9),
    "Color": (0.1, 1.9),
    "Contrast": (0.1, 1.9),
    "Sharpness": (0.1, 1.9),
    "Posterize": (4, 8),
    "Solarize": (0, 256),
    "AutoContrast": (0, 0),
    "Equalize": (0, 0),
    "Invert": (0, 0),
}
"""Lowest and highest magnitude: shear, share of the side, degrees, factor, bits, grey level."""

SubPolicy = tuple[tuple[str, float, int], tuple[str, float, int]]

CIFAR10_POLICY: tuple[SubPolicy, ...] = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)
"""Sub-policies: (operation, probability, index of the magnitude), twice."""

NOTHING = len(OPERATIONS)
"""The code of an operation that is not applied; the others are an index into `OPERATIONS`."""

DRAWS = 5
"""Uniform draws per image: the sub-policy, two for whether to apply, two magnitudes."""


@dataclass(frozen=True)
class Choices:
    """What happens to each image, round by round (two of AutoAugment), on the CPU.

    `operations` int64 [rounds, B], a place in the table of operations or `NOTHING`; `magnitudes` float64
    [rounds, B], in the units of `RANGES`.
    """

    operations: Tensor
    magnitudes: Tensor


def choose(draws: Tensor, policy: tuple[SubPolicy, ...] = CIFAR10_POLICY) -> Choices:
    """From uniform draws, float64 [B, `DRAWS`] in [0, 1), on the CPU."""
    codes, chances, lowest, steps = _tables(policy)
    drawn = (draws[:, 0] * len(policy)).long()
    applied = chances[:, drawn] > draws[:, 1:3].T
    magnitudes = lowest[:, drawn] + steps[:, drawn] * draws[:, 3:5].T
    return Choices(torch.where(applied, codes[:, drawn], NOTHING), magnitudes)


@cache
def _tables(policy: tuple[SubPolicy, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, probabilities, lowest magnitudes and widths of the draw, each [2, sub-policies]."""
    names = list(OPERATIONS)
    codes, chances, lowest, steps = [], [], [], []
    for place in (0, 1):
        parts = [sub_policy[place] for sub_policy in policy]
        widths = [(RANGES[name][1] - RANGES[name][0]) / 10 for name, _, _ in parts]
        codes.append([names.index(name) for name, _, _ in parts])
        chances.append([chance for _, chance, _ in parts])
        lowest.append(
            [RANGES[part[0]][0] + part[2] * width for part, width in zip(parts, widths, strict=True)]
        )
        steps.append(widths)
    chances, lowest, steps = (torch.tensor(t, dtype=torch.float64) for t in (chances, lowest, steps))
    return torch.tensor(codes), chances, lowest, steps


def apply(images: Tensor, choices: Choices, operations: Mapping[str, Operation] = OPERATIONS) -> Tensor:
    """Images uint8 [B, 3, H, W] after all their operations; the input is not changed.

    Each operation gets the images it applies to as one contiguous batch.
    """
    places = torch.arange(len(images))  # the position of each image in `images`
    for codes, magnitudes in zip(choices.operations, choices.magnitudes, strict=True):
        order = codes.argsort()
        sizes = codes.bincount(minlength=NOTHING + 1).tolist()
        groups = images.index_select(0, to_device(places[order], images.device)).split(sizes)
        changed = [
            operation(group, of_group) if len(group) else group
            for operation, group, of_group in zip(
                operations.values(), groups, magnitudes[order].split(sizes), strict=False
            )
        ]
        images = torch.cat([*changed, groups[NOTHING]])
        places = order.argsort()
    return images.index_select(0, to_device(places, images.device))
