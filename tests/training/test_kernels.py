"""The order of images in memory and cuDNN's search, by device and precision."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from longtail.training.batches import Images
from longtail.training.image_sets import View
from longtail.training.kernels import layout, searched_kernels
from longtail.training.trainer import Trainer
from tests.support.small_training import make_trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LAST, FIRST = torch.channels_last, torch.contiguous_format


@pytest.fixture(autouse=True)
def modes() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    assert torch.backends.cudnn.benchmark is before


def test_the_order_is_chosen_by_device_and_precision() -> None:
    found = {
        (device.type, precision): layout(device, precision)
        for device in (CPU, GPU)
        for precision in ("float32", "tf32", "bf16")
    }
    assert [key for key, order in found.items() if order == FIRST] == [("cuda", "float32")]


def test_cudnn_searches_on_a_gpu_unless_the_training_is_deterministic() -> None:
    for device, deterministic, expected in ((GPU, False, True), (GPU, True, False), (CPU, False, False)):
        torch.use_deterministic_algorithms(deterministic)
        with searched_kernels(device):
            assert torch.backends.cudnn.benchmark is expected


@pytest.mark.parametrize(("order", "other"), [(LAST, FIRST), (FIRST, LAST)])
def test_images_and_weights_have_the_order_of_the_image_set(
    order: torch.memory_format, other: torch.memory_format
) -> None:
    pixels = np.zeros((9, 32, 32, 3), np.uint8)
    images = Images.of(pixels, np.arange(9), (0.5,) * 3, (0.2,) * 3, CPU, order)
    view, _ = images.view(View(torch.arange(4), "cifar", 1, "augment", 0))
    for made in (images.pixels, view):
        assert made.is_contiguous(memory_format=order)
        assert not made.is_contiguous(memory_format=other)
    made = make_trainer("cross_entropy")
    made.data.train = replace(made.data.train, layout=order)  # type: ignore[type-var]
    trainer = Trainer(made.model, made.method, made.data, made.training, 4)
    weight = trainer.model.get_parameter("blocks.0.conv1.weight")
    assert weight.is_contiguous(memory_format=order)
    assert not weight.is_contiguous(memory_format=other)
