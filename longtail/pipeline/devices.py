"""Choosing the device and the number of workers."""

import os
import platform
import sys
import warnings
from pathlib import Path

from longtail.errors import InputError, flat

NVIDIA = "0x10de"
"""The vendor's number on the PCI bus."""


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`; `auto` prefers a GPU, and warns if there is one that torch cannot use.

    Raises InputError if `wanted` is not available.
    """
    if wanted == "cpu":
        return "cpu"
    reason = cuda_problem()
    if reason is None:
        return "cuda"
    if wanted == "cuda":
        raise InputError("--device cuda", f"torch cannot use CUDA here: {reason}", "valid: auto, cpu")
    if has_nvidia_device():
        print(f"warning: torch cannot use the NVIDIA device here: {reason}", file=sys.stderr, flush=True)
    return "cpu"


def cuda_problem() -> str | None:
    """Why torch cannot use CUDA here, in torch's words; None if it can."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says the same
        if torch.cuda.is_available():
            return None
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return flat(error).rstrip(".")
    return "torch finds no device"


def has_nvidia_device(system: Path = Path("/")) -> bool:
    """Whether Linux sees an NVIDIA GPU, with or without a driver."""
    if any((system / "proc/driver/nvidia/gpus").glob("*")):
        return True
    for device in (system / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text(encoding="ascii") for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor.strip() == NVIDIA and kind.startswith("0x03"):  # a display controller
            return True
    return False


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
