"""Choosing the device and the number of workers."""

import os
import platform
from pathlib import Path

from longtail.errors import InputError


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`; `auto` prefers a GPU. Raises InputError if `wanted` is not available."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda", "no such device here", "valid: auto, cpu")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(jobs: int, device: str, trainings: int) -> int:
    """Trainings at once: `jobs`; 0: one on a GPU, else one a core, or all if those are at most two a core."""
    # three trainings on two cores take 1.5 times as long together as one alone, one after the other twice
    automatic = 1 if device == "cuda" else trainings if trainings <= 2 * cores() else cores()
    return max(1, min(jobs or automatic, trainings))


def decoder_count(device: str, workers: int) -> int:
    """Processes per training that decode image files; none on a CPU, which the training fills by itself."""
    return max(1, (cores() - 1) // workers) if device == "cuda" else 0


def processor() -> str:
    """The name of this machine's processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """The hardware, for readers of the results: the GPU, or the processor and its cores."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores ({processor()})"
