"""Finding NaN and infinity in nested state, by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def tensors_of(state: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in nested dicts and lists, by path, such as `model.classifier.weight`."""
    if isinstance(state, Tensor):
        return {name: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {
        path: value
        for key, part in pairs
        for path, value in tensors_of(part, f"{name}.{key}" if name else str(key)).items()
    }


@torch.no_grad()
def not_finite(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The names of float `tensors` that hold NaN or infinity, with that value; waits for the device once."""
    tensors = {name: value for name, value in tensors.items() if value.is_floating_point() and value.numel()}
    if not tensors:
        return {}
    norms = torch._foreach_norm(list(tensors.values()), float("inf"))  # pyright: ignore[reportPrivateImportUsage]
    largest = torch.stack([norm.double() for norm in norms])
    good = torch.isfinite(largest).tolist()
    if all(good):
        return {}
    return {
        name: value for name, value, fine in zip(tensors, largest.tolist(), good, strict=True) if not fine
    }
