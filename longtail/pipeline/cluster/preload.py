"""Imports all code of a training, once, in the process that workers are forked from."""

from importlib import import_module
from pkgutil import walk_packages

import distributed  # noqa: F401  # pyright: ignore[reportUnusedImport]
import torch

import longtail
from longtail.meta.tangents import load_forward_mode
from longtail.planning.code import LOOP, OWN

ROOMS = tuple(
    f"longtail.{place.removesuffix('.py').replace('/', '.').rstrip('.')}" for place in (*LOOP, *OWN)
)

for module in walk_packages(longtail.__path__, "longtail."):
    if any(f"{module.name}.".startswith(f"{room}.") for room in ROOMS):
        import_module(module.name)
load_forward_mode()
torch.set_num_threads(1)  # before a thread of its own could start: forked processes have none
