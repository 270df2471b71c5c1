"""AutoAugment on a batch: each operation and the whole policy, image by image what torchvision makes."""

import math
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from longtail.training.augment.autoaugment import CIFAR10_POLICY, DRAWS, NOTHING, RANGES, apply, choose
from longtail.training.augment.operations import OPERATIONS, affine


def sheared(image: Tensor, degrees: list[float]) -> Tensor:
    return reference.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def translated(image: Tensor, pixels: list[int]) -> Tensor:
    return reference.affine(image, 0.0, pixels, 1.0, [0.0, 0.0])


# as torchvision's AutoAugment calls them, which takes pixels for a translation and whole bits; moved and
# turned the other way, as the release does
REFERENCE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda image, shear: sheared(image, [math.degrees(math.atan(shear)), 0.0]),
    "ShearY": lambda image, shear: sheared(image, [0.0, math.degrees(math.atan(shear))]),
    "TranslateX": lambda image, share: translated(image, [-int(share * image.shape[2]), 0]),
    "TranslateY": lambda image, share: translated(image, [0, -int(share * image.shape[1])]),
    "Rotate": lambda image, degrees: reference.rotate(image, -degrees),
    "Brightness": reference.adjust_brightness,
    "Color": reference.adjust_saturation,
    "Contrast": reference.adjust_contrast,
    "Sharpness": reference.adjust_sharpness,
    "Posterize": lambda image, bits: reference.posterize(image, round(bits)),
    "Solarize": lambda image, threshold: reference.solarize(image, threshold),
    "AutoContrast": lambda image, _: reference.autocontrast(image),
    "Equalize": lambda image, _: reference.equalize(image),
    "Invert": lambda image, _: reference.invert(image),
}
BY_POSITION = ("ShearX", "ShearY", "Rotate")  # the nearest pixel to a real position, where ties can be


def draws(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def an_image(kind: str, seed: int, height: int = 32, width: int = 32) -> Tensor:
    """uint8 [3, H, W]."""
    shape, of = (3, height, width), draws(seed)
    noise = torch.randint(0, 256, shape, generator=of)
    if kind == "dim":
        noise = 90 + noise // 8
    elif kind == "smooth":
        ramp = torch.arange(height)[:, None] * 3 + torch.arange(width) * 4
        noise = (ramp + torch.tensor([0, 20, 35])[:, None, None] + noise // 40).clamp(0, 255)
    elif kind == "one value":
        noise = torch.randint(0, 256, (3, 1, 1), generator=of).expand(shape)
    elif kind == "two values":
        noise = torch.where(noise < 60 * (1 + seed % 4), noise[:, :1, :1], noise[:, -1:, -1:])
    elif kind == "almost one value":  # fewer than 255 pixels below the highest value: nothing to equalise
        noise = torch.where(torch.rand(shape, generator=of) < 0.05 * (1 + seed % 6), noise // 2, 200)
    elif kind in ("black", "white"):
        noise = torch.full(shape, 0 if kind == "black" else 255)
    return noise.to(torch.uint8)


KINDS = ("noise", "dim", "smooth", "one value", "two values", "almost one value", "black", "white")


def some_images(of_each: int = 4) -> Tensor:
    """Four of each kind, uint8 [B, 3, 32, 32]."""
    return torch.stack([an_image(kind, seed) for kind in KINDS for seed in range(of_each)])


def grid(name: str) -> list[float]:
    """Eleven points over the range with both ends, and what lies off them."""
    low, high = RANGES[name]
    if name == "Posterize":
        return [1, 2, 3, 4, 5, 6, 7, 8]
    if name in ("AutoContrast", "Equalize", "Invert"):
        return [0.0]
    points = torch.linspace(low, high, 11, dtype=torch.float64).tolist()
    between = (low + (high - low) * torch.rand(6, dtype=torch.float64, generator=draws(9))).tolist()
    if name in ("ShearX", "ShearY"):  # positions half way between two pixels in every fifth and tenth row
        points += [-0.2, -0.1, 0.1, 0.2]
    if name == "Solarize":  # torchvision refuses a threshold of 256
        points[-1:] = [254.5, 255.0]
    return [
        *points,
        *between,
        *([0.0, 1.0] if name in ("Brightness", "Color", "Contrast", "Sharpness") else []),
    ]


def expected(name: str, images: Tensor, magnitude: float) -> Tensor:
    return torch.stack([REFERENCE[name](image, magnitude) for image in images])


def found(name: str, images: Tensor, magnitude: float) -> Tensor:
    return OPERATIONS[name](images, torch.full((len(images),), magnitude, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in BY_POSITION])
def test_an_operation_makes_of_every_image_what_torchvision_makes_of_it(name: str) -> None:
    images = some_images()
    copy = images.clone()
    for magnitude in grid(name):
        assert torch.equal(found(name, images, magnitude), expected(name, images, magnitude)), magnitude
    assert torch.equal(images, copy)


def half_way(name: str, magnitude: float, side: int = 32) -> Tensor:
    """Whether a source row or column lies half way between two, worked out in float64, bool [side, side]."""
    y, x = torch.meshgrid(*[torch.arange(side, dtype=torch.float64) - (side - 1) / 2] * 2, indexing="ij")
    if name == "Rotate":
        cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
        positions = [cos * x - sin * y, sin * x + cos * y]
    else:
        positions = [magnitude * ((y if name == "ShearX" else x) + side / 2) + 0.5]
    return torch.stack([(p - p.round()).abs() < 1e-5 for p in positions]).any(0)


@pytest.mark.parametrize("name", BY_POSITION)
def test_a_shear_or_rotation_reads_torchvisions_pixels_but_for_ties(name: str) -> None:
    images = some_images(2)
    others, pixels = 0, 0
    for magnitude in grid(name):
        differs = (found(name, images, magnitude) != expected(name, images, magnitude)).any(1)
        assert not (differs & ~half_way(name, magnitude)).any(), magnitude
        others, pixels = others + int(differs.sum()), pixels + differs.numel()
    assert others / pixels < 0.005


@pytest.mark.parametrize("name", BY_POSITION)
def test_drawn_shears_and_rotations_have_no_ties(name: str) -> None:
    images = torch.stack([an_image("noise", seed) for seed in range(200)])
    low, high = RANGES[name]
    magnitudes = low + (high - low) * torch.rand(200, dtype=torch.float64, generator=draws(3))
    made = OPERATIONS[name](images, magnitudes)
    for image, magnitude, result in zip(images, magnitudes.tolist(), made, strict=True):
        assert torch.equal(result, REFERENCE[name](image, magnitude))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_image_of_a_batch_has_its_own_magnitude(name: str) -> None:
    images = an_image("smooth", 1).expand(len(grid(name)), -1, -1, -1)
    magnitudes = torch.tensor(grid(name), dtype=torch.float64)
    one_by_one = [found(name, images[:1], magnitude)[0] for magnitude in grid(name)]
    assert torch.equal(OPERATIONS[name](images, magnitudes), torch.stack(one_by_one))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_takes_images_that_are_not_square(name: str) -> None:
    images = torch.stack([an_image("smooth", seed, 21, 34) for seed in range(3)])
    for magnitude in {grid(name)[0], grid(name)[-1]}:
        right = (found(name, images, magnitude) == expected(name, images, magnitude)).all(1)
        assert right.double().mean() > 0.98  # ties again


def test_a_threshold_of_256_solarises_nothing() -> None:
    assert torch.equal(found("Solarize", some_images(), 256.0), some_images())


def test_affine_reads_columns_by_the_first_row_of_the_matrix() -> None:
    images = some_images(1)
    matrix = torch.tensor([[0, 1, 0], [1, 0, 0]], dtype=torch.float64).expand(len(images), 2, 3)
    assert torch.equal(affine(images, matrix), images.transpose(2, 3))


def test_the_policy_is_the_published_one() -> None:
    published = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    assert len(CIFAR10_POLICY) == 25
    for ours, theirs in zip(CIFAR10_POLICY, published, strict=True):
        for (name, chance, index), (their_name, their_chance, their_index) in zip(ours, theirs, strict=True):
            assert (name, chance) == (their_name, their_chance)
            assert index == their_index or their_index is None


def test_a_magnitude_lies_between_two_points_of_the_grid() -> None:
    """Each sub-policy, both ends and the middle of its draw, from the words of the table."""
    for drawn, sub_policy in enumerate(CIFAR10_POLICY):
        for share in (0.0, 0.5, 1 - 2**-53):
            row = torch.tensor([[(drawn + 0.5) / 25, 0.0, 0.0, share, share]], dtype=torch.float64)
            choices = choose(row)
            for place, (name, chance, index) in enumerate(sub_policy):
                points = torch.linspace(*RANGES[name], 11, dtype=torch.float64)
                value = torch.lerp(points[index], points[index + 1], share)
                torch.testing.assert_close(choices.magnitudes[place, 0], value, rtol=1e-12, atol=1e-12)
                code = list(OPERATIONS).index(name) if chance > 0 else NOTHING
                assert choices.operations[place, 0] == code


def test_sub_policies_are_equally_likely_and_operations_as_likely_as_the_table_says() -> None:
    images = 200_000
    choices = choose(torch.rand(images, DRAWS, dtype=torch.float64, generator=draws()))
    for place in (0, 1):
        shares: defaultdict[str, float] = defaultdict(float)
        for sub_policy in CIFAR10_POLICY:
            shares[sub_policy[place][0]] += sub_policy[place][1] / 25
        for code, name in enumerate(OPERATIONS):
            assert (choices.operations[place] == code).double().mean() == pytest.approx(
                shares[name], abs=0.005
            )


def replayed(image: Tensor, row: Tensor) -> Tensor:
    """One image [3, H, W] under torchvision's functions, from its row of draws, float64 [5]."""
    which, *numbers = row.tolist()
    for place, (name, chance, index) in enumerate(CIFAR10_POLICY[int(which * 25)]):
        if numbers[place] < chance:
            low, high = RANGES[name]
            image = REFERENCE[name](image, low + (high - low) * (index + numbers[2 + place]) / 10)
    return image


def test_the_policy_makes_of_a_batch_what_torchvision_makes_of_its_images() -> None:
    images = some_images(60)
    rows = torch.rand(len(images), DRAWS, dtype=torch.float64, generator=draws(4))
    copy = images.clone()
    choices = choose(rows)
    one_by_one = [replayed(image, row) for image, row in zip(images, rows, strict=True)]
    assert torch.equal(apply(images, choices), torch.stack(one_by_one))
    assert torch.equal(images, copy)
    unused = {"ShearX", "Invert", "Posterize"}  # not in the policy, or seldom
    assert {
        list(OPERATIONS)[code] for code in choices.operations.unique() if code != NOTHING
    } | unused == set(OPERATIONS)


def test_a_batch_of_one_image_and_one_that_nothing_happens_to() -> None:
    image = an_image("noise", 1)[None]
    nothing = torch.tensor([[0.0, 0.9, 0.9, 0.5, 0.5]], dtype=torch.float64)
    inverted = torch.tensor([[0.0, 0.0, 0.9, 0.5, 0.5]], dtype=torch.float64)
    assert torch.equal(apply(image, choose(nothing)), image)
    assert torch.equal(apply(image, choose(inverted)), 255 - image)


@pytest.mark.parametrize(
    ("name", "magnitude", "row", "column"),
    [
        ("TranslateY", 0.25, 8, 16),
        ("TranslateY", -0.25, 24, 16),
        ("TranslateX", 0.25, 16, 8),
        ("TranslateX", -0.25, 16, 24),
    ],
)
def test_a_positive_translation_moves_a_pixel_up_or_left(
    name: str, magnitude: float, row: int, column: int
) -> None:
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[..., 16, 16] = 255
    moved = OPERATIONS[name](image, torch.tensor([magnitude], dtype=torch.float64))
    assert moved.nonzero()[:, 2:].unique(dim=0).tolist() == [[row, column]]


def test_a_positive_rotation_turns_clockwise() -> None:
    image = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    image[..., 4, 16] = 255  # above the centre
    turned = OPERATIONS["Rotate"](image, torch.tensor([30.0], dtype=torch.float64)).nonzero()
    assert (turned[:, 3] > 16).all()


def test_translate_y_of_the_policy_moves_far_up() -> None:
    drawn = torch.rand(50_000, DRAWS, dtype=torch.float64, generator=draws())
    choices = choose(drawn)
    far = choices.magnitudes[choices.operations == list(OPERATIONS).index("TranslateY")]
    assert float((far > 0.36).double().mean()) > 0.85  # all but the sub-policy with TranslateY 3
    assert float(far.max()) < 150 / 331
