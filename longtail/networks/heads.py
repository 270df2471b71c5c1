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


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a network; of one with a new block on a pretrained backbone, that block's."""
    trained = getattr(network, "new_block", None) or network
    return [layer for layer in trained.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


class WithHead(nn.Module):
    """Frozen features below a trained head.

    The features have no graph, and no parameter of theirs changes. BatchNorm keeps the statistics of stage 1
    (`batch_norm` "frozen": the network stays in evaluation mode), or follows stage 2 ("training": it
    normalises by the batch, and the running statistics move; of a network with a pretrained backbone below a
    new block, in that block alone).
    """

    def __init__(self, network: nn.Module, head: nn.Module, batch_norm: str = "frozen") -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.head = head
        self.moving = [] if batch_norm == "frozen" else batch_norms(network)

    def train(self, mode: bool = True) -> WithHead:
        """Training mode reaches the head, and the BatchNorm layers that move."""
        super().train(mode)
        self.network.eval()
        for layer in self.moving:
            layer.train(mode)
        return self

    @property
    def trained(self) -> nn.Module:
        """What retraining changes, and its file holds: the head, and the BatchNorm layers that move."""
        if not self.moving:
            return self.head
        return nn.ModuleDict({"head": self.head, "batch_norm": nn.ModuleList(self.moving)})

    def features(self, images: Tensor) -> Tensor:
        """The head's input, [B, F], for images [B, channels, H, W]."""
        return self.network.features(images)  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, channels, H, W]."""
        return self.head(self.features(images))
