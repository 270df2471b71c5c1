"""The head of the decoupled methods: (W h + b) * s."""

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
