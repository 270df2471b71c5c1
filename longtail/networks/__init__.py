"""Networks by name. Each has `features(x) -> [B, F]`, a linear `classifier`, and their composition."""

from __future__ import annotations

from torch import nn

from longtail.errors import InputError
from longtail.networks import imagenet
from longtail.networks.residual import cifar_resnet32, digits_resnet
from longtail.randomness import global_draws

NETWORKS = {"digits_resnet": digits_resnet, "resnet32": cifar_resnet32}

IMAGE_NETWORKS = {
    "resnet10": imagenet.resnet10,
    "resnet10_cosine": imagenet.resnet10_cosine,
    "resnet50": imagenet.resnet50,
    "resnet50_cosine": imagenet.resnet50_cosine,
    "resnet152": imagenet.resnet152,
    "resnet152_places": imagenet.resnet152_places,
}
"""For photographs; no benchmark uses them yet."""


def build_network(name: str, classes: int, seed: int) -> nn.Module:
    """The network `name` with `classes` outputs, initialised from (seed, "initialisation").

    Raises InputError where no network has that name.
    """
    known = NETWORKS | IMAGE_NETWORKS
    if name not in known:
        raise InputError(f"network '{name}': not known; valid: {', '.join(known)}")
    with global_draws(seed, "initialisation"):
        return known[name](classes)
