"""Numbers made on the CPU, on their way to where the images are."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """`values` of the CPU on `device`.

    To a GPU they go from pinned memory, behind what it is already asked to do, so that nobody waits.
    """
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
