"""Recording an iteration once and replaying it; on a GPU, as a CUDA graph.

A small network on a GPU is launch-bound: the CPU issues thousands of small kernels per iteration. A graph
issues them all at once. A replay reads and writes the same memory each time, so whatever changes between
iterations (batches, learning rate, accuracies) must be in tensors that keep their place.
A method declares that this holds with `Method.replayable`.

There is one graph per batch shape: the last batch of an epoch may be shorter.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from longtail.errors import flat
from longtail.training.method import Batch, StepInfo
from longtail.training.optimisers import SGD

Scalars = dict[str, Tensor]
Iterate = Callable[[Batch, Batch | None, StepInfo], Scalars]
Record = Callable[[Callable[[], Scalars]], tuple[Scalars, Callable[[], None]]]
"""Records a function without running it; returns the tensors that will hold its results, and the replay.
Raises RuntimeError if it cannot be recorded."""

NEEDED = "2.14"
"""Of torch: what a recording relies on was read in the sources of this version."""
PLAIN_FIRST = 2
"""Unrecorded iterations per shape: memory is allocated and libraries choose their kernels."""


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A side stream for the block, which recording requires; a no-op without CUDA."""
    if device.type != "cuda":
        yield
        return
    before, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(before)
    with torch.cuda.stream(own):
        yield
    before.wait_stream(own)


def too_old(version: str) -> str | None:
    """Why this version of torch does not record; None if it does."""
    if TorchVersion(version) >= NEEDED:
        return None
    return f"recording needs torch {NEEDED} or newer, this is {version}"


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection within the block, one before it.

    One that frees a CUDA tensor or graph during a recording would spoil the recording.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def cuda_recorder() -> Record:
    """A recorder of CUDA graphs on the current stream; they share one memory pool, as no two run at once."""
    pool = torch.cuda.graph_pool_handle()

    def record(function: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            results = function()
        return results, graph.replay

    return record


class AnyStep(StepInfo):
    """Stands for every replay: only the learning rate is known, as a tensor."""

    def __getattribute__(self, name: str) -> Any:
        """Raises RuntimeError if a method reads a value that a recording would freeze."""
        if name in ("iteration", "iterations", "progress"):
            raise RuntimeError(f"a replayable method must not read {name}")
        return super().__getattribute__(name)


class _Replay:
    """One recorded iteration, with its input tensors."""

    def __init__(
        self, iterate: Iterate, record: Record, batch: Batch, meta: Batch | None, optimiser: SGD | None
    ) -> None:
        self.batches = [_copied(own) for own in (batch, meta) if own is not None]
        self.rate = torch.zeros((), device=batch.images.device)
        info = AnyStep(0, 0, self.rate, optimiser)
        first, *second = self.batches
        with without_collection():
            self.scalars, self.replay = record(lambda: iterate(first, second[0] if second else None, info))

    def __call__(self, batch: Batch, meta: Batch | None, rate: Tensor) -> Scalars:
        for own, given in zip(self.batches, (batch, meta), strict=False):
            assert given is not None
            own.images.copy_(given.images)
            own.labels.copy_(given.labels)
        self.rate.copy_(rate)
        self.replay()
        return {name: value.clone() for name, value in self.scalars.items()}


def _copied(batch: Batch) -> Batch:
    return Batch(batch.images.clone(), batch.labels.clone())


class Replays:
    """Iterations, replayed from the third call with the same batch shapes.

    The function that iterates is given with each call: kept here, a trainer's own method would make a cycle,
    and the memory of a finished cell would wait for a garbage collection.
    """

    def __init__(self, record: Record, version: str = torch.__version__) -> None:
        self.record = record
        self.plain: Counter[tuple[torch.Size, ...]] = Counter()
        self.replays: dict[tuple[torch.Size, ...], _Replay] = {}
        self.refusal: str | None = too_old(version)
        """Why nothing is recorded (any more), in one line."""

    @property
    def told(self) -> str:
        """The outcome, in one line."""
        return self.refusal or f"iterations of {len(self.replays)} shapes"

    def __call__(self, iterate: Iterate, batch: Batch, meta: Batch | None, info: StepInfo) -> Scalars:
        """Run one iteration of `iterate`; the learning rate of `info` must be a tensor on the device."""
        assert isinstance(info.learning_rate, Tensor)
        shapes = tuple(own.images.shape for own in (batch, meta) if own is not None)
        if shapes not in self.replays and self.plain[shapes] >= PLAIN_FIRST and self.refusal is None:
            try:
                self.replays[shapes] = _Replay(iterate, self.record, batch, meta, info.optimiser)
            except RuntimeError as error:
                self._refuse(flat(error))
        if shapes in self.replays:
            return self.replays[shapes](batch, meta, info.learning_rate)
        self.plain[shapes] += 1
        return iterate(batch, meta, info)

    def _refuse(self, reason: str) -> None:
        """Stay plain from now on: a failed recording may have freed memory that earlier graphs still use."""
        self.refusal = reason
        self.replays.clear()
