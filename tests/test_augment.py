"""Augmentation: image by image the same as a slow reference, each image with its own draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longtail.augment import AUGMENTS, shift


def draws(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
def test_shift_moves_each_image_as_the_reference_does(pixels: int, shape: tuple[int, int, int]) -> None:
    images = torch.randn(60, *shape, generator=draws(2))
    found = shift(images, draws(), pixels).numpy()
    moves = range(-pixels, pixels + 1)
    seen = []
    for before, after in zip(images.numpy(), found, strict=True):
        fits = [(d, r) for d in moves for r in moves if np.array_equal(shifted(before, d, r), after)]
        assert len(fits) == 1
        seen += fits
    assert set(seen) == {(d, r) for d in moves for r in moves}  # every move, both axes independent


def test_equal_images_of_a_batch_get_different_draws() -> None:
    images = torch.randn(1, 1, 8, 8, generator=draws(2)).expand(64, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in shift(images, draws())}) == 9


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_generator_decides_and_the_input_stays(name: str) -> None:
    images = torch.randn(20, 1, 8, 8, generator=draws(2))
    copy = images.clone()
    torch.manual_seed(0)
    one = AUGMENTS[name](images, draws(5))
    torch.manual_seed(1)
    assert torch.equal(one, AUGMENTS[name](images, draws(5)))
    assert torch.equal(images, copy)
    assert (one.shape, one.dtype) == (images.shape, images.dtype)


def test_none_changes_nothing_and_shift_does() -> None:
    images = torch.randn(20, 1, 8, 8, generator=draws(2))
    assert torch.equal(AUGMENTS["none"](images, draws()), images)
    assert not torch.equal(AUGMENTS["shift"](images, draws()), images)
