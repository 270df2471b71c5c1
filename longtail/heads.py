"""Heads on frozen features: what the decoupled methods train."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledClassifier(nn.Module):
    """A linear classifier with one scale a class, (W h + b) * s, s = 1 at first (authors' code)."""

    def __init__(self, classifier: nn.Linear, train_classifier: bool, train_scale: bool) -> None:
        """W and b are copies of `classifier`'s; the two flags say what is trained."""
        super().__init__()
        weight, bias = classifier.weight.detach().clone(), classifier.bias.detach().clone()
        self.weight = nn.Parameter(weight, requires_grad=train_classifier)
        self.bias = nn.Parameter(bias, requires_grad=train_classifier)
        self.scale = nn.Parameter(torch.ones_like(bias), requires_grad=train_scale)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        return F.linear(features, self.weight, self.bias) * self.scale


class WithHead(nn.Module):
    """Frozen features below a trained head.

    The features run in evaluation mode and without a graph, so BatchNorm keeps the statistics of stage 1
    (Kang et al., ICLR 2020: the representation is fixed).
    """

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.head = head

    def train(self, mode: bool = True) -> WithHead:
        """Training mode reaches the head only."""
        super().train(mode)
        self.network.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """What the head gets, [B, F], of images [B, channels, H, W]."""
        return self.network.features(images)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, channels, H, W]."""
        return self.head(self.features(images))
