"""Networks: size, shapes, initialisation, and that a frozen network stays frozen."""

import hashlib
import math

import pytest
import torch
from torch import nn

from longtail.networks import NETWORKS, build_network
from longtail.networks.heads import WithHead

SHAPES = {"digits_resnet": ((1, 8, 8), 32), "resnet32": ((3, 32, 32), 64)}


def digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def test_every_network_is_tested_here() -> None:
    assert set(SHAPES) == {name for name, network in NETWORKS.items() if network.module == "residual"}


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_the_classifier_on_pooled_features(name: str) -> None:
    shape, width = SHAPES[name]
    model = build_network(name, 7, seed=1).eval()
    images = torch.randn(3, *shape)
    features = model.features(images)  # type: ignore[operator]
    assert features.shape == (3, width)
    classifier = model.classifier
    assert isinstance(classifier, nn.Linear)
    assert classifier.bias is not None
    assert model(images).shape == (3, 7)
    assert torch.equal(model(images), classifier(features))


@pytest.mark.parametrize(("name", "layers"), [("resnet32", 32), ("digits_resnet", 4)])
def test_the_number_of_layers_is_that_of_its_name(name: str, layers: int) -> None:
    modules = build_network(name, 100, seed=1).modules()
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in modules) == layers


def test_resnet32_has_the_parameters_of_option_a() -> None:
    # 3x3 convolutions and two BatchNorm parameters a channel; shortcuts have none
    widths = [16] * 5 + [32] * 5 + [64] * 5
    inputs = [16, *widths[:-1]]
    convolutions = 9 * 3 * 16 + sum(9 * a * b + 9 * b * b for a, b in zip(inputs, widths, strict=True))
    norms = 2 * 16 + sum(4 * width for width in widths)
    model = build_network("resnet32", 100, seed=1)
    assert (
        sum(value.numel() for value in model.parameters()) == convolutions + norms + 64 * 100 + 100 == 470_004
    )


def test_a_block_that_halves_keeps_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    from longtail.networks.residual import BasicBlock

    block = BasicBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # the shortcut alone
    images = torch.rand(2, 4, 6, 6)
    found = block(images)
    assert torch.equal(found[:, 2:6], images[:, :, ::2, ::2])
    assert (found[:, :2] == 0).all()
    assert (found[:, 6:] == 0).all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_seed_gives_the_same_bytes_whatever_was_drawn_before(name: str) -> None:
    torch.manual_seed(1)
    one = digest(build_network(name, 5, seed=1))
    torch.rand(10)
    assert digest(build_network(name, 5, seed=1)) == one
    assert digest(build_network(name, 5, seed=2)) != one


def test_initial_weights_are_kaiming_normal_by_fan_in() -> None:
    for module in build_network("resnet32", 100, seed=1).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            expected = math.sqrt(2 / weight[0].numel())
            assert float(weight.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel()))


def test_training_mode_and_gradients_reach_the_head_only() -> None:
    network = build_network("digits_resnet", 5, seed=1).train()
    model = WithHead(network, nn.Linear(32, 5)).train()
    assert model.head.training
    assert not any(module.training for module in model.network.modules())
    before = digest(model.network)
    model(torch.randn(4, 1, 8, 8)).sum().backward()
    assert digest(model.network) == before
    assert [name for name, value in model.named_parameters() if value.grad is not None] == [
        "head.weight",
        "head.bias",
    ]
    assert not model.eval().head.training
