"""Networks by name. Each has `features(x) -> [B, F]`, a `classifier`, and their composition."""

from __future__ import annotations

from torch import nn

from longtail.errors import InputError
from longtail.networks.imagenet import resnet10, resnet50, resnet152
from longtail.networks.residual import cifar_resnet32, digits_resnet
from longtail.randomness import global_draws

NETWORKS = {
    "digits_resnet": digits_resnet,
    "resnet32": cifar_resnet32,
    "resnet10": resnet10,
    "resnet50": resnet50,
    "resnet152": resnet152,
}
"""The module of each is in `longtail.code.NETWORK_CODE`."""


def build_network(name: str, classes: int, seed: int) -> nn.Module:
    """The network `name` with `classes` outputs, initialised from (seed, "initialisation").

    Raises InputError where no network has that name.
    """
    if name not in NETWORKS:
        raise InputError(f"network '{name}': not known; valid: {', '.join(NETWORKS)}")
    with global_draws(seed, "initialisation"):
        return NETWORKS[name](classes)
