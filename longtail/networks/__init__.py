"""Networks by name. Each has `features(x) -> [B, F]`, a `classifier`, and their composition.

Importing this does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from longtail.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Where a network is built: a function of the number of classes, in a module of this package."""

    module: str
    function: str


NETWORKS = {
    "digits_resnet": Architecture("residual", "digits_resnet"),
    "resnet32": Architecture("residual", "cifar_resnet32"),
    "resnet10": Architecture("imagenet", "resnet10"),
    "resnet50": Architecture("imagenet", "resnet50"),
    "resnet152": Architecture("imagenet", "resnet152"),
}


def build_network(name: str, classes: int, seed: int) -> nn.Module:
    """The network `name` with `classes` outputs, initialised from (seed, "initialisation").

    Raises InputError if no network has that name.
    """
    if name not in NETWORKS:
        raise InputError(f"network '{name}'", "not known", f"valid: {', '.join(NETWORKS)}")
    from longtail.randomness import global_draws

    architecture = NETWORKS[name]
    build = getattr(import_module(f"{__name__}.{architecture.module}"), architecture.function)
    with global_draws(seed, "initialisation"):
        return build(classes)
