"""The time a step's arithmetic and memory traffic would take at the rates this machine reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def waited(device: torch.device) -> float:
    """The clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True)
class Rates:
    """Floating-point operations a second of a large matrix product, bytes a second of a large copy."""

    operations: float
    bytes: float

    @classmethod
    def measured(cls, device: torch.device) -> Rates:
        """The best of five."""
        side, words = (1024, 2**25) if device.type == "cpu" else (8192, 2**28)
        one, two = (torch.randn(side, side, device=device) for _ in range(2))
        source = torch.randn(words, device=device)
        target = torch.empty_like(source)

        def best(run: Callable[[], Any]) -> float:
            times = []
            for _ in range(5):
                start = waited(device)
                run()
                times.append(waited(device) - start)
            return min(times)

        product, copy = best(lambda: one @ two), best(lambda: target.copy_(source))
        return cls(2 * side**3 / product, 2 * source.element_size() * words / copy)


@dataclass(frozen=True)
class Work:
    """Floating-point operations of the convolutions and matrix products of a step, and bytes that all of its
    operations read and write, each tensor from and to memory once an operation."""

    operations: float
    bytes: float

    @classmethod
    def counted(cls, step: Callable[[], Any]) -> Work:
        """By running the step."""
        with _Traffic() as traffic, FlopCounterMode(display=False) as counter:
            step()
        return cls(float(counter.get_total_flops()), float(traffic.bytes))


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = _tensors([args, kwargs or {}]), _tensors(result)
        places = {value.untyped_storage().data_ptr() for value in read}
        new = [value for value in written if value.untyped_storage().data_ptr() not in places]
        if new or func._schema.is_mutable:  # others give views, and move nothing
            changed = written if func._schema.is_mutable else new
            self.bytes += sum(value.numel() * value.element_size() for value in [*read, *changed])
        return result


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def table(work: dict[str, Work], seconds: dict[str, float], rates: Rates) -> list[str]:
    """Lines of Markdown: work, the time that it would take at these rates, and the share that is reached."""
    lines = [
        f"Roofline: a matrix product reaches {rates.operations / 1e9:.0f} GFLOP/s, a copy "
        f"{rates.bytes / 1e9:.1f} GB/s. Bytes are counted as if no operation found its inputs in a cache.",
        "",
        "| one iteration | GFLOP | ms at that rate | GB | ms at that rate | reached of the slower |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, own in work.items():
        arithmetic, traffic = own.operations / rates.operations, own.bytes / rates.bytes
        lines.append(
            f"| {name} | {own.operations / 1e9:.1f} | {1000 * arithmetic:.1f} | {own.bytes / 1e9:.2f} | "
            f"{1000 * traffic:.1f} | {max(arithmetic, traffic) / seconds[name]:.0%} |"
        )
    return lines
