"""How a device computes convolutions: the order of images in memory, and cuDNN's search for the best kernel.

Both change speed, and the last digits on a GPU. `longtail doctor` measures both orders.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last, which suits CPUs and tensor cores; float32 on a GPU uses no tensor cores."""
    if device.type == "cuda" and precision == "float32":
        return torch.contiguous_format
    return torch.channels_last


@contextmanager
def searched_kernels(device: torch.device) -> Iterator[None]:
    """Within the block cuDNN times its kernels at the first use of each shape, as shapes are fixed.

    Not in deterministic mode: the choice may differ between runs.
    """
    before = torch.backends.cudnn.benchmark
    if device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
