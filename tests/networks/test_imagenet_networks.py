"""Networks for photographs: torchvision's numbers, the options, and weights from files."""

import ast
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from longtail.errors import InputError
from longtail.networks import NETWORKS, build_network, imagenet
from longtail.networks.cosine import CosineClassifier
from longtail.networks.imagenet import ImageNetwork, load_backbone, resnet10
from tests.meta import test_meta_gradient

WIDTHS = {"resnet10": 512, "resnet50": 2048, "resnet152": 2048}

CLASSES = 7
IMPORTS = ast.Import | ast.ImportFrom


def network(name: str, seed: int = 1) -> ImageNetwork:
    found = build_network(name, CLASSES, seed)
    assert isinstance(found, ImageNetwork)
    return found.eval()


def count(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@cache
def torchvision_parameters(name: str) -> int:
    import torchvision

    with torch.device("meta"):
        return count(torchvision.models.get_model(name, num_classes=CLASSES))


def spread(model: nn.Module) -> nn.Module:
    """With BatchNorm statistics that are not those of a fresh model."""
    draws = torch.Generator().manual_seed(2)
    for name, buffer in model.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.copy_(torch.rand(buffer.shape, generator=draws) + 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def torchvision_resnet50() -> nn.Module:
    from torchvision.models import resnet50

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return spread(resnet50(num_classes=CLASSES))


def small_places(classes: int) -> ImageNetwork:
    """The form of the Places network on a ResNet-50, which is quicker to make."""
    return ImageNetwork("resnet50", classes, cosine=True, new_block=True).eval()


@pytest.fixture(scope="module")
def two() -> tuple[ImageNetwork, ImageNetwork]:
    """Two ResNet-10 of other weights, which no test changes."""
    return network("resnet10"), network("resnet10", seed=2)


def linear_resnet10(classes: int) -> ImageNetwork:
    """What no benchmark uses: with torchvision's classifier."""
    return ImageNetwork("resnet10", classes)


def test_every_network_has_its_code_in_the_digests_and_those_here_are_tested_here() -> None:
    assert {name for name, network in NETWORKS.items() if network.module == "imagenet"} == set(WIDTHS)


@pytest.mark.parametrize("model", [resnet10, linear_resnet10, small_places], ids=lambda make: make.__name__)
def test_logits_are_the_classifier_on_pooled_features(model: Callable[[int], ImageNetwork]) -> None:
    made = model(CLASSES).eval()
    with torch.no_grad():
        images = torch.randn(2, 3, 40, 40)
        features = made.features(images)
        assert features.shape == (2, made.classifier.in_features)
        assert torch.equal(made(images), made.classifier(features))


def test_the_classifier_is_of_cosines_and_the_network_for_places_has_a_new_block() -> None:
    for name, width in WIDTHS.items():
        with torch.device("meta"):
            model = getattr(imagenet, name)(CLASSES)
        assert isinstance(model, ImageNetwork)
        assert isinstance(model.classifier, CosineClassifier)
        assert model.classifier.scale == 30
        assert (model.classifier.in_features, model.classifier.out_features) == (width, CLASSES)
        assert (model.new_block is not None) == (name == "resnet152")
        if name != "resnet10":  # which torchvision lacks
            # a cosine classifier has no bias
            assert count(model) == torchvision_parameters(name) - CLASSES


def test_a_frozen_backbone_stays_as_it_is_while_the_rest_trains() -> None:
    model = small_places(CLASSES).train()
    model.freeze_backbone()
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.new_block is not None
    assert all(module.training for module in model.new_block.modules())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(4, 3, 40, 40)).sum().backward()
    after = model.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"new_block"}  # BatchNorm's statistics
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert trained == {"new_block", "classifier"}


def test_resnet10_has_one_basic_block_a_stage(two: tuple[ImageNetwork, ImageNetwork]) -> None:
    widths = [64, 128, 256, 512]
    inputs = [64, 64, 128, 256]
    expected = 3 * 64 * 49 + 2 * 64 + 512 * CLASSES
    for a, b in zip(inputs, widths, strict=True):
        expected += 9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if a != b else 0)
    assert count(two[0]) == expected


def test_the_same_seed_gives_the_same_network(two: tuple[ImageNetwork, ImageNetwork]) -> None:
    one, other = (model.state_dict() for model in two)
    same = network("resnet10").state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.conv1.weight"], other["backbone.conv1.weight"])
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_weights_gives_torchvisions_numbers(
    torchvision_resnet50: nn.Module, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    weights = torchvision_resnet50.state_dict()
    if suffix == ".pth":  # as old versions of torch wrote it
        weights = {name: value for name, value in weights.items() if "num_batches" not in name}
        torch.save(weights, path)
    else:
        save_file(weights, path)
    model = ImageNetwork("resnet50", CLASSES).eval()
    start = model.classifier.weight.clone()
    load_backbone(model, path)
    assert torch.equal(model.classifier.weight, start)  # that of the file is passed over
    with torch.no_grad():
        model.classifier.weight.copy_(weights["fc.weight"])
        assert model.classifier.bias is not None
        model.classifier.bias.copy_(weights["fc.bias"])
        images = torch.randn(2, 3, 40, 40)
        assert torch.equal(model(images), torchvision_resnet50(images))


def test_the_new_block_takes_the_place_of_the_last_one_and_stays_new(
    torchvision_resnet50: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    weights = torchvision_resnet50.state_dict()
    save_file(weights, path)
    model = small_places(CLASSES)
    assert model.new_block is not None
    start = {name: value.clone() for name, value in model.new_block.state_dict().items()}
    load_backbone(model, path)
    assert all(torch.equal(value, start[name]) for name, value in model.new_block.state_dict().items())
    assert not torch.equal(start["conv1.weight"], weights["layer4.2.conv1.weight"])
    # with the old block's weights in it, it is torchvision's network again
    old = {name.removeprefix("layer4.2."): value for name, value in weights.items() if "layer4.2." in name}
    model.new_block.load_state_dict(old)
    torchvision_resnet50_features = nn.Sequential(*list(torchvision_resnet50.children())[:-1], nn.Flatten())
    with torch.no_grad():
        images = torch.randn(2, 3, 40, 40)
        assert torch.equal(model.features(images), torchvision_resnet50_features(images))


class Strange:
    """Something that only a pickle that runs code could bring back."""


def spoiled(kind: str, weights: dict[str, torch.Tensor], path: Path) -> Path:
    weights = dict(weights)
    if kind == "absent":
        return path
    if kind == "text":
        path.write_text("not weights")
    elif kind == "truncated":
        torch.save(weights, path)
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "code":
        torch.save({"conv1.weight": Strange()}, path)
    elif kind == "wrapped":
        torch.save({"state_dict": weights}, path)
    else:
        if kind == "lacks":
            del weights["layer1.0.conv1.weight"]
        elif kind == "more":
            weights["layer9.weight"] = torch.zeros(1)
        elif kind == "shape":
            weights["conv1.weight"] = torch.zeros(64, 1, 7, 7)
        elif kind == "nan":
            weights["conv1.weight"] = torch.full((64, 3, 7, 7), float("nan"))
        torch.save(weights, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "no such file"),
        ("text", "not safetensors or a state dict"),
        ("truncated", "not safetensors or a state dict"),
        ("code", "not safetensors or a state dict"),
        ("wrapped", "not a state dict"),
        ("lacks", "lacks layer1.0.conv1.weight"),
        ("more", "network lacks, layer9.weight"),
        ("shape", r"conv1.weight is \[64, 1, 7, 7\], expected \[64, 3, 7, 7\]"),
        ("nan", "conv1.weight holds numbers that are not finite"),
    ],
)
def test_what_is_wrong_with_a_file_of_weights_is_one_line_and_changes_nothing(
    kind: str, words: str, two: tuple[ImageNetwork, ImageNetwork], tmp_path: Path
) -> None:
    model, donor = two
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = spoiled(kind, donor.backbone.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=words) as error:
        load_backbone(model, path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_weights_of_a_deeper_network_are_refused(
    torchvision_resnet50: nn.Module, two: tuple[ImageNetwork, ImageNetwork], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(torchvision_resnet50.state_dict(), path)
    with pytest.raises(InputError, match="model of the same depth"):
        load_backbone(two[0], path)


def test_the_meta_gradient_is_that_of_double_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_meta_gradient.SHAPES, "resnet10", (3, 32, 32))
    case = test_meta_gradient.Case("resnet10", "cross_entropy")
    found, loss = case.by_tangent(0.01)
    expected, expected_loss = case.by_double_backward(0.01)
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-10 * expected.norm()
    assert loss == pytest.approx(float(expected_loss), rel=1e-12)
    other, _ = case.by_double_backward(0.0101)
    assert (found - other).norm() > 1e-6 * expected.norm()


def test_torchvision_is_imported_when_such_a_network_is_made_and_not_before() -> None:
    tree = ast.parse(Path(imagenet.__file__).read_text(encoding="utf-8"))
    assert not any("torchvision" in ast.unparse(node) for node in tree.body if isinstance(node, IMPORTS))
    assert any("torchvision" in ast.unparse(node) for node in ast.walk(tree) if isinstance(node, IMPORTS))
