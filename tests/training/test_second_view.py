"""The second view: image by image torchvision's operations, within a grey level."""

import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor

from longtail.training.augment.autoaugment import NOTHING
from longtail.training.augment.second_view import (
    BLUR,
    CIFAR,
    DRAWS,
    GREY,
    OPERATIONS,
    PHOTOGRAPHS,
    TRIES,
    blur,
    choose,
    choose_boxes,
    hue,
    resized_crop,
    second_view,
)
from tests.training.test_autoaugment import draws, some_images

KERNEL = [13, 13]


def close(found: Tensor, expected: Tensor) -> float:
    """The share of values that differ, none by more than one grey level."""
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 1
    return float((difference > 0).double().mean())


@pytest.mark.parametrize("turn", [-0.5, -0.1, -0.03, 0.0, 0.05, 0.1, 0.5])
def test_hue_is_torchvisions(turn: float) -> None:
    images = some_images()
    found = hue(images, torch.full((len(images),), turn, dtype=torch.float64))
    assert close(found, reference.adjust_hue(images, turn)) < 0.005


@pytest.mark.parametrize("deviation", [0.1, 0.5, 1.3, 2.0])
def test_blur_is_torchvisions(deviation: float) -> None:
    images = some_images()
    found = blur(images, torch.full((len(images),), deviation, dtype=torch.float64))
    assert close(found, reference.gaussian_blur(images, KERNEL, [deviation, deviation])) < 0.001


def test_a_crop_is_enlarged_as_torchvision_does() -> None:
    images = some_images(30)
    boxes = choose_boxes(
        torch.rand(len(images), 2 * TRIES + 2, dtype=torch.float64, generator=draws()), 32, 32, CIFAR.area
    )
    boxes[0] = torch.tensor([0, 0, 32, 32])
    boxes[1] = torch.tensor([31, 31, 1, 1])
    flipped = torch.arange(len(images)) % 2 == 1
    found = resized_crop(images, boxes, flipped)
    one_by_one = []
    for image, box, flip in zip(images, boxes.tolist(), flipped, strict=True):
        crop = reference.resized_crop(image, box[0], box[1], box[2], box[3], [32, 32])
        one_by_one.append(reference.hflip(crop) if flip else crop)
    assert close(found, torch.stack(one_by_one)) < 0.001
    assert torch.equal(found[0], images[0])


def test_boxes_lie_inside_and_have_the_areas_and_ratios_asked_for() -> None:
    numbers = torch.rand(20_000, 2 * TRIES + 2, dtype=torch.float64, generator=draws())
    top, left, high, wide = choose_boxes(numbers, 32, 32, CIFAR.area).unbind(1)
    assert min(int(top.min()), int(left.min())) == 0
    assert max(int((top + high).max()), int((left + wide).max())) == 32
    assert 0.18 < float((high * wide).min()) / 1024 < 0.21
    assert int((high * wide).max()) > 1000
    assert 0.7 < float((wide / high).min()) < 0.8
    assert 1.25 < float((wide / high).max()) < 1.45
    assert float((wide / high).log().mean()) == pytest.approx(0, abs=0.01)


def test_operations_come_as_often_as_asked_and_in_every_order() -> None:
    numbers = torch.rand(50_000, DRAWS - 2 * TRIES - 3, dtype=torch.float64, generator=draws())
    choices = choose(numbers, CIFAR)
    hit = choices.operations != NOTHING
    assert hit.double().mean(dim=1).tolist() == pytest.approx([CIFAR.jitter] * 4 + [GREY, BLUR], abs=0.01)
    together = [float((hit[one] & hit[other]).double().mean()) for one, other in ((0, 4), (0, 5), (4, 5))]
    assert together == pytest.approx([CIFAR.jitter * GREY, CIFAR.jitter * BLUR, GREY * BLUR], abs=0.01)
    jittered = choices.operations[:4, choices.operations[0] != NOTHING]
    assert len(jittered.T.unique(dim=0)) == 24
    for code, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        amounts = choices.magnitudes[:4][choices.operations[:4] == code]
        assert float(amounts.min()) == pytest.approx(low, abs=1e-3)
        assert float(amounts.max()) == pytest.approx(high, abs=1e-3)


def test_every_photograph_is_jittered_but_not_in_hue_and_its_crop_may_be_small() -> None:
    numbers = torch.rand(20_000, DRAWS - 2 * TRIES - 3, dtype=torch.float64, generator=draws())
    choices = choose(numbers, PHOTOGRAPHS)
    hit = choices.operations != NOTHING
    assert (hit[:4].sum(dim=0) == 3).all()
    names = list(OPERATIONS)
    assert not (choices.operations == names.index("Hue")).any()
    assert hit[4:].double().mean(dim=1).tolist() == pytest.approx([GREY, BLUR], abs=0.01)
    boxes = choose_boxes(
        torch.rand(20_000, 2 * TRIES + 2, dtype=torch.float64, generator=draws()), 300, 300, PHOTOGRAPHS.area
    )
    assert float((boxes[:, 2] * boxes[:, 3]).min()) / 300**2 == pytest.approx(0.08, abs=0.003)


def test_a_view_is_torchvisions_operations_one_after_the_other() -> None:
    images = some_images(20)
    numbers = torch.rand(len(images), DRAWS, dtype=torch.float64, generator=draws(3))
    boxes = choose_boxes(numbers[:, : 2 * TRIES + 2], 32, 32, CIFAR.area)
    choices = choose(numbers[:, 2 * TRIES + 3 :], CIFAR)
    operations = {
        "Brightness": reference.adjust_brightness,
        "Contrast": reference.adjust_contrast,
        "Color": reference.adjust_saturation,
        "Hue": reference.adjust_hue,
        "Blur": lambda image, deviation: reference.gaussian_blur(image, KERNEL, [deviation] * 2),
    }
    one_by_one = []
    for at, image in enumerate(images):
        top, left, high, wide = boxes[at].tolist()
        image = reference.resized_crop(image, top, left, high, wide, [32, 32])
        image = reference.hflip(image) if numbers[at, 2 * TRIES + 2] >= 0.5 else image
        for code, amount in zip(
            choices.operations[:, at].tolist(), choices.magnitudes[:, at].tolist(), strict=True
        ):
            if code != NOTHING:
                image = operations[list(OPERATIONS)[code]](image, amount)
        one_by_one.append(image)
    difference = (second_view(images, numbers).int() - torch.stack(one_by_one).int()).abs()
    # a grey level lost early may be multiplied by what follows
    assert (difference > 0).double().mean() < 0.01
    assert (difference > 3).double().mean() < 0.001


def test_a_view_refuses_normalised_images() -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        second_view(torch.zeros(2, 3, 32, 32), torch.zeros(2, DRAWS))
