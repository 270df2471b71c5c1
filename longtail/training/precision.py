"""Numeric precision of convolutions and matrix products.

float32, the default, is true float32: TF32, which torch enables for convolutions on GPUs by default, is off.
tf32 rounds their operands to 10 bits of mantissa where the GPU supports it. bf16 is torch's autocast around
the network; parameters, losses and all other computations of a method stay float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
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


def with_precision(network: nn.Module, precision: str) -> nn.Module:
    """`network`, under bf16 autocast if `precision` says so; its outputs are float32.

    So are the features [B, F] and logits [B, C] of its parts, which some methods call by themselves:
    `features`, and the module `classifier` or `head`. Copies of the network keep the precision.
    """
    if precision == "bf16":
        for part in (network, *(getattr(network, name, None) for name in ("classifier", "head"))):
            if isinstance(part, nn.Module):
                # a wrapper stored on the instance would make a cycle with it
                part.__class__ = _in_bf16(type(part))
    return network


@cache
def _in_bf16(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass of `kind` whose `forward` and `features` run under autocast."""

    def wrapped(inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(self: nn.Module, inputs: Tensor) -> Tensor:
            with torch.autocast(inputs.device.type, torch.bfloat16):
                outputs = inner(self, inputs)
            return outputs.float()

        return call

    own = {name: wrapped(getattr(kind, name)) for name in ("forward", "features") if hasattr(kind, name)}
    return type(kind.__name__, (kind,), own)
