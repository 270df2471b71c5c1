"""Networks by name. Each has `features(x) -> [B, F]`, a linear `classifier`, and their composition."""

from __future__ import annotations

from torch import Tensor, nn

from longtail.networks.residual import cifar_resnet32, digits_resnet
from longtail.randomness import global_draws

NETWORKS = {"digits_resnet": digits_resnet, "resnet32": cifar_resnet32}


def build_network(name: str, classes: int, seed: int) -> nn.Module:
    """The network `name` with `classes` outputs, initialised from (seed, "initialisation")."""
    with global_draws(seed, "initialisation"):
        return NETWORKS[name](classes)


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

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, channels, H, W]."""
        features = self.network.features(images)  # type: ignore[operator]
        return self.head(features)
