"""Heads on frozen features: what the decoupled methods train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longtail.networks.cosine import CosineClassifier, class_logits


class FixedClassifier(nn.Module):
    """Stage 1's classifier, linear or cosine: copies of W and b (or of W alone), which stay fixed.

    Base of the heads; `logits` are those of stage 1.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, classifier: nn.Linear, trained: bool = False) -> None:
        """`trained`: W and b are trained after all."""
        super().__init__()
        self.cosine = classifier.scale if isinstance(classifier, CosineClassifier) else None
        for name in ("weight", "bias"):
            value = getattr(classifier, name)
            copied = None if value is None else nn.Parameter(value.detach().clone(), requires_grad=trained)
            self.register_parameter(name, copied)

    @property
    def ones(self) -> Tensor:
        """A one for each class, [C]."""
        return torch.ones_like(self.weight[:, 0])

    def logits(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        return class_logits(features, self.weight, self.bias, self.cosine)


class ScaledClassifier(FixedClassifier):
    """A classifier with one scale per class, (W h + b) * s, s = 1 at first (authors' code).

    On a cosine classifier, scale * cos * s.
    """

    def __init__(self, classifier: nn.Linear, train_classifier: bool, train_scale: bool) -> None:
        """W and b are copies of `classifier`'s; the two flags say what is trained."""
        super().__init__(classifier, train_classifier)
        self.scale = nn.Parameter(self.ones, requires_grad=train_scale)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        return self.logits(features) * self.scale


def fresh(classifier: nn.Linear) -> nn.Linear:
    """A classifier of the same kind and size, from the global random state."""
    size = (classifier.in_features, classifier.out_features)
    if isinstance(classifier, CosineClassifier):
        return CosineClassifier(*size, scale=classifier.scale)
    return nn.Linear(*size)


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
        """The head's input, [B, F], for images [B, channels, H, W]."""
        return self.network.features(images)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, channels, H, W]."""
        return self.head(self.features(images))
