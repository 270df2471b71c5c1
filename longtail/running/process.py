"""Setting up a training process: memory reuse, imports, deterministic algorithms."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
LARGEST = 2**31 - 1

DETERMINISTIC = "LONGTAIL_DETERMINISTIC"
"""An environment variable: if it is 1, trainings use only deterministic algorithms. On the CPU, with one
thread, they always do. It is not a parameter: like the device, it is not part of the fingerprint."""


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next allocation, on Linux with glibc.

    By default each step returns its tensors to the system and gets zeroed pages for the next, which takes
    time. The process keeps its largest size.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, LARGEST)


def set_up() -> None:
    """Prepare this thread, and its process, for trainings."""
    import torch

    keep_freed_memory()
    if deterministic_wanted():
        use_deterministic()
    # the number of threads decides the order of sums, and so the last digits
    torch.set_num_threads(1)


class _NoPandas:
    """An import finder for which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def do_without_pandas() -> None:
    """Keep pyarrow from importing pandas in this process, which takes longer than training a small cell.

    pyarrow imports it with its first array, to recognise pandas' types; no training has any.
    """
    sys.meta_path.insert(0, _NoPandas)


def release_memory(device: torch.device) -> None:
    """Give a GPU's memory of earlier cells back before the next cell starts; a no-op on a CPU."""
    if device.type == "cuda":
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def deterministic_wanted() -> bool:
    """Whether the user asked for deterministic algorithms."""
    return os.environ.get(DETERMINISTIC) == "1"


def use_deterministic() -> None:
    """Make torch use deterministic algorithms in this process, or raise RuntimeError if there is none.

    Call it before the process first uses a GPU: cuBLAS reads its variable then.
    """
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = (
        ":4096:8"  # of the two allowed values, the one that costs memory, not time
    )
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # choosing algorithms by timing is not repeatable
    # it only shows mistakes, and would write every new tensor a second time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
