"""How a process that trains is set up: freed memory, deterministic algorithms."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
LARGEST = 2**31 - 1

DETERMINISTIC = "LONGTAIL_DETERMINISTIC"
"""An environment variable: where it is 1, trainings use deterministic algorithms alone. On the CPU they do so
anyway, with one thread. It is no parameter, for it stands in no fingerprint, as the device does not: a cell
computed on a GPU is the same cell."""


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next allocation, on Linux with glibc.

    By default the tensors of every step are given back to the system, which hands out empty pages again for
    the next step, and filling those takes time. The process then stays as large as it once was.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, LARGEST)


def deterministic_wanted() -> bool:
    """Whether the user asked for deterministic algorithms."""
    return os.environ.get(DETERMINISTIC) == "1"


def use_deterministic() -> None:
    """Let torch take deterministic algorithms in this process, and refuse (RuntimeError) where it has none.

    To be called before the process first uses a GPU: cuBLAS looks at its variable then.
    """
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # the one of two values that costs memory, not time
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # trying algorithms by the clock picks another now and then
