"""Numeric precision of convolutions and matrix products.

float32, the default, is true float32: TF32, which torch enables for convolutions on GPUs by default, is off.
tf32 rounds their operands to 10 bits of mantissa where the GPU supports it. bf16 is torch's autocast around
the network; parameters, losses and all other computations of a method stay float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "tf32", "bf16")


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Compute convolutions and matrix products of float32 tensors in `precision` within the block."""
    convolutions = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    places: list[Any] = [torch.backends.cuda.matmul, convolutions]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def with_precision(network: nn.Module, precision: str, device: torch.device) -> nn.Module:
    """`network`, under bf16 autocast if `precision` says so; its outputs [B, C] are float32."""
    if precision != "bf16":
        return network
    inner = network.forward

    def forward(*arguments: Any) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            outputs: Tensor = inner(*arguments)
        return outputs.float()

    network.forward = forward
    return network
