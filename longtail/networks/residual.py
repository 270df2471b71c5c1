"""Residual networks for small images (He et al., CVPR 2016, Sec. 4.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, and the parameter-free shortcut "A".

    Where the block changes the shape, the shortcut takes every second pixel and pads the new channels
    with zeros, half before and half after.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H/stride, W/stride]."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(y.add_(x), inplace=True)


class ResidualNetwork(nn.Module):
    """A 3x3 stem, stages of `BasicBlock`, global average pooling, a linear classifier with bias.

    Convolutions and the classifier start Kaiming-normal (fan in), as in the authors' code; each stage
    after the first halves the image.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: int, classes: int, stem_stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, stride=stem_stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        layers = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, stride=2 if stage and not block else 1))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features [B, F] of images [B, channels, H, W]."""
        x = F.relu(self.bn(self.conv(images)), inplace=True)
        return torch.flatten(F.adaptive_avg_pool2d(self.blocks(x), 1), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, channels, H, W]."""
        return self.classifier(self.features(images))


def digits_resnet(classes: int) -> ResidualNetwork:
    """For the 8x8 digits: 32 channels on 4x4 pixels, one block (4 layers), F = 32."""
    return ResidualNetwork(channels=1, widths=(32,), blocks=1, classes=classes, stem_stride=2)


def cifar_resnet32(classes: int) -> ResidualNetwork:
    """ResNet-32 for 32x32 colour images: widths 16, 32, 64, five blocks each, F = 64.

    470,004 parameters for 100 classes. Some papers give this name to a wide network of some 21 million, whose
    numbers are no comparison (docs/reproduction.md).
    """
    return ResidualNetwork(channels=3, widths=(16, 32, 64), blocks=5, classes=classes)
