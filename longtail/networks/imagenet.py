"""Residual networks for 224x224 photographs (He et al., CVPR 2016), built on torchvision.

Layers and the Kaiming-normal (fan out) initialisation of the convolutions are torchvision's: without options,
a network gives the outputs of torchvision's model with the same weights. ResNet-10, which torchvision lacks,
has one basic block per stage. Options, after the code of Difficulty-Net: a cosine classifier of scale 30;
and, for Places, that classifier and a new last bottleneck on a trained ResNet-152.

Weights come from a file (`load_backbone`); nothing is downloaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from longtail.errors import InputError, and_more
from longtail.networks.cosine import CosineClassifier

COSINE_SCALE = 30.0
"""Of the ImageNet-LT and Places-LT networks in the authors' code."""

STAGES: dict[str, tuple[Literal["BasicBlock", "Bottleneck"], list[int]]] = {
    "resnet10": ("BasicBlock", [1, 1, 1, 1]),
    "resnet50": ("Bottleneck", [3, 4, 6, 3]),
    "resnet152": ("Bottleneck", [3, 8, 36, 3]),
}


class ImageNetwork(nn.Module):
    """A backbone, optionally a new block, global average pooling, and a linear or cosine classifier.

    `backbone` has the layers of torchvision's ResNet under their names there, from `conv1` to `layer4`.
    `new_block` is None, or a bottleneck that replaces the last block of `layer4`, which the backbone then
    lacks. The three are separate because Places-LT trains the backbone at another learning rate
    (0.001) than `new_block` and `classifier` (0.01).
    """

    def __init__(self, depth: str, classes: int, cosine: bool = False, new_block: bool = False) -> None:
        """`depth` is one of `STAGES`; `new_block` needs bottlenecks."""
        super().__init__()
        self.frozen = False
        # here, not above: this import takes seconds, and most trainings do not need it
        from torchvision.models import resnet

        block, blocks = STAGES[depth]
        whole = resnet.ResNet(getattr(resnet, block), blocks)
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        self.backbone = nn.Sequential(OrderedDict((name, getattr(whole, name)) for name in names))
        self.new_block: nn.Module | None = None
        if new_block:
            layer: nn.Sequential = whole.layer4
            self.backbone.layer4 = layer[:-1]
            self.new_block = layer[-1]
        self.pool = nn.AdaptiveAvgPool2d(1)
        width = whole.fc.in_features
        self.classifier: nn.Linear = (
            CosineClassifier(width, classes, COSINE_SCALE) if cosine else nn.Linear(width, classes)
        )

    def freeze_backbone(self) -> None:
        """Freeze the backbone from here on, including its BatchNorm statistics."""
        self.frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ImageNetwork:
        """Training mode does not reach a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Pooled features [B, F] of images [B, 3, H, W]; F = 512 for basic blocks, 2048 for bottlenecks."""
        x = self.backbone(images)
        if self.new_block is not None:
            x = self.new_block(x)
        return torch.flatten(self.pool(x), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, 3, H, W]."""
        return self.classifier(self.features(images))


def resnet10(classes: int) -> ImageNetwork:
    """ResNet-10 with a cosine classifier, F = 512: ImageNet-LT."""
    return ImageNetwork("resnet10", classes, cosine=True)


def resnet50(classes: int) -> ImageNetwork:
    """ResNet-50 with a cosine classifier, F = 2048: ImageNet-LT."""
    return ImageNetwork("resnet50", classes, cosine=True)


def resnet152(classes: int) -> ImageNetwork:
    """ResNet-152 with a new last bottleneck and a cosine classifier, F = 2048: Places-LT."""
    return ImageNetwork("resnet152", classes, cosine=True, new_block=True)


def load_backbone(network: ImageNetwork, path: Path) -> None:
    """Set the backbone to the weights in a file: safetensors, or a state dict that torch saved.

    The names are torchvision's. Its classifier, and the last block if the network has a new one, are
    ignored; everything else must be there and fit exactly. Files of old torch versions may lack BatchNorm's
    batch counts. No code in a file is run. Raises InputError, and then leaves the network unchanged.
    """
    found = _read_weights(path)
    passed = ["fc"]
    if network.new_block is not None:
        layer4 = network.backbone.get_submodule("layer4")
        passed.append(f"layer4.{len(list(layer4.children()))}")
    ours = network.backbone.state_dict()
    theirs = {
        name: value for name, value in found.items() if not name.startswith(tuple(f"{p}." for p in passed))
    }
    absent = [name for name in ours if name not in theirs and not name.endswith(".num_batches_tracked")]
    strange = [name for name in theirs if name not in ours]
    for names, complaint in ((absent, "lacks"), (strange, "has, and the network lacks,")):
        if names:
            raise InputError(
                path,
                f"{complaint} {and_more(names, 1)}",
                "expected the weights of torchvision's model of the same depth",
            )
    for name, value in theirs.items():
        if value.shape != ours[name].shape:
            raise InputError(path, f"{name} is {list(value.shape)}, expected {list(ours[name].shape)}")
        if not torch.isfinite(value).all():
            raise InputError(path, f"{name} holds numbers that are not finite", "take another file")
    network.backbone.load_state_dict(theirs, strict=False)


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise InputError(path, "no such file", "give a file of weights, nothing is downloaded")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers fail in many ways
        kind = type(error).__name__
        raise InputError(path, f"not safetensors or a state dict of tensors alone ({kind})") from None
    tensors = isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    )
    if not tensors:
        raise InputError(path, "not a state dict", "save `model.state_dict()`")
    return found
