"""Same seed, same bytes also on a GPU: only what torch computes in one order."""

from __future__ import annotations

import os

VARIABLE = "LONGTAIL_DETERMINISTIC"
"""An environment variable: where it is 1, trainings use deterministic algorithms alone. On the CPU they do so
anyway, with one thread. It is no parameter, for it stands in no fingerprint, as the device does not: a cell
computed on a GPU is the same cell."""


def wanted() -> bool:
    """Whether the person asked for it."""
    return os.environ.get(VARIABLE) == "1"


def only_deterministic() -> None:
    """Let torch take deterministic algorithms in this process, and refuse (RuntimeError) where it has none.

    To be called before the process first uses a GPU: cuBLAS looks at its variable then.
    """
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # the one of two values that costs memory, not time
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # trying algorithms by the clock picks another now and then
