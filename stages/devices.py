"""Where to compute."""

from __future__ import annotations

from longtail.errors import InputError


def check_device(wanted: str) -> None:
    """Raise InputError unless `wanted` is the name of a device; without torch, so at once."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {wanted}: not a device; valid: auto, cpu, cuda")


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`; `auto` is a GPU where there is one. Raises InputError where `wanted` is not there."""
    check_device(wanted)
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no such device here; valid: auto, cpu")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
