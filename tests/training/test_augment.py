"""Augmentation: image by image the same as a slow reference, each image with its own draw."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor

from benchmarks.augment import report, seconds
from longtail.training.augment import autoaugment
from longtail.training.augment.batch import AUGMENTS, HOLE, cifar, crop_flip, shift
from tests.training.test_autoaugment import replayed


def draws(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int, seed: int = 2, side: int = 32) -> Tensor:
    """Noise around a grey level of its own for each image, uint8 [B, 3, side, side]."""
    of = draws(seed)
    level = torch.randint(20, 160, (count, 1, 1, 1), generator=of)
    return (level + torch.randint(0, 90, (count, 3, side, side), generator=of)).to(torch.uint8)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """One image [channels, H, W] read `down` and `right` further on, its edge repeated."""
    _, height, width = image.shape
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            y, x = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
            result[:, row, column] = image[:, y, x]
    return result


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_shift_moves_each_image_as_the_reference_does(
    pixels: int, shape: tuple[int, int, int], kind: torch.dtype
) -> None:
    images = (100 * torch.rand(60, *shape, generator=draws(2))).to(kind)
    made = shift(pixels)(images, draws())
    assert made.dtype == kind
    moves = range(-pixels, pixels + 1)
    seen = []
    for before, after in zip(images.numpy(), made.numpy(), strict=True):
        fits = [(d, r) for d in moves for r in moves if np.array_equal(shifted(before, d, r), after)]
        assert len(fits) == 1
        seen += fits
    assert set(seen) == {(d, r) for d in moves for r in moves}  # every move, both axes independent


def test_equal_images_of_a_batch_get_different_draws() -> None:
    images = torch.randn(1, 1, 8, 8, generator=draws(2)).expand(64, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in shift(1)(images, draws())}) == 9
    images = some_images(1).expand(64, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in cifar(images, draws())}) == 64


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_generator_decides_and_the_input_stays(name: str) -> None:
    images = some_images(20)
    copy = images.clone()
    torch.manual_seed(0)
    one = AUGMENTS[name](images, draws(5))
    torch.manual_seed(1)
    assert torch.equal(one, AUGMENTS[name](images, draws(5)))
    assert torch.equal(images, copy)
    assert (one.shape, one.dtype) == (images.shape, images.dtype)


def test_none_changes_nothing_and_the_others_do() -> None:
    images = some_images(20)
    assert torch.equal(AUGMENTS["none"](images, draws()), images)
    for name in AUGMENTS.keys() - {"none"}:
        assert not torch.equal(AUGMENTS[name](images, draws()), images)


@pytest.mark.parametrize("name", ["crop_flip", "cifar", "cifar_view"])
def test_what_happens_to_an_image_does_not_depend_on_the_others(name: str) -> None:
    images = some_images(40)
    alone = AUGMENTS[name](images, draws(5))
    assert torch.equal(AUGMENTS[name](images[:7], draws(5)), alone[:7])
    others = torch.cat([images[:7], 255 - images[7:]])
    assert torch.equal(AUGMENTS[name](others, draws(5))[:7], alone[:7])


def cropped(image: Tensor, row: Tensor, reflected: int, zeros: int) -> Tensor:
    """One image [3, H, W] padded, cropped and flipped by torchvision's functions, from three draws."""
    down, right, flip = row.tolist()
    if reflected:
        image = reference.pad(image, [reflected], padding_mode="reflect")
    image = reference.pad(image, [zeros])
    places, side = 2 * (reflected + zeros) + 1, image.shape[1] - 2 * (reflected + zeros)
    image = reference.crop(image, int(down * places), int(right * places), side, side)
    return reference.hflip(image) if flip >= 0.5 else image


def cut(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """One image [3, H, W] with the part of the box that lies inside filled with the image's mean."""
    image, mean = image.copy(), image.mean()
    image[:, max(top, 0) : top + 16, max(left, 0) : left + 16] = int(mean)
    return image


def test_crop_flip_is_torchvisions() -> None:
    images = some_images(300)
    rows = torch.rand(300, 3, dtype=torch.float64, generator=draws(7))
    made = crop_flip(images, draws(7))
    for image, row, result in zip(images, rows, made, strict=True):
        assert torch.equal(result, cropped(image, row, reflected=0, zeros=4))


def test_crop_flip_takes_floating_point_images() -> None:
    images = some_images(20)
    assert torch.equal(crop_flip(images.double(), draws()), crop_flip(images, draws()).double())


@pytest.mark.parametrize("side", [32, 40])
def test_cifar_is_the_reference_one_image_at_a_time(side: int) -> None:
    """Every step in its order: crop with reflection and zeros, flip, AutoAugment, Cutout."""
    images = some_images(300, side=side)
    rows = torch.rand(300, 10, dtype=torch.float64, generator=draws(7))
    made = cifar(images, draws(7))
    seen = set()
    for image, row, result in zip(images, rows, made, strict=True):
        image = replayed(cropped(image, row[:3], reflected=4, zeros=4), row[3:8])
        top, left = (int(number * (side - 8)) - 8 for number in row[8:].tolist())
        seen.update([top, left])
        assert np.array_equal(result.numpy(), cut(image.numpy(), top, left))
    assert (min(seen), max(seen)) == (-8, side - HOLE - 1)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 32, 32),
        torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 3, 16, 32, dtype=torch.uint8),
    ],
)
def test_cifar_refuses_images_that_it_would_spoil(images: Tensor) -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        cifar(images, draws())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", AUGMENTS)
def test_a_gpu_makes_the_same_images(name: str) -> None:
    images = some_images(512)
    made = AUGMENTS[name](images.cuda(), draws(3))
    assert made.is_cuda
    assert torch.equal(made.cpu(), AUGMENTS[name](images, draws(3)))


def test_the_draws_of_an_image_are_those_of_the_policy_and_five_more() -> None:
    images = some_images(4)
    used, counted = draws(5), draws(5)
    cifar(images, used)
    torch.rand(4, 5 + autoaugment.DRAWS, dtype=torch.float64, generator=counted)
    assert torch.equal(used.get_state(), counted.get_state())


def test_the_benchmark_has_a_row_for_each_augmentation() -> None:
    table = report(seconds(rounds=1))
    assert "| `cifar` | " in table
    assert "| `crop_flip` | " in table
