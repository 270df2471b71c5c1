"""An iteration recorded once and replayed: on a GPU, as one CUDA graph.

A small network on a GPU waits for the CPU, which names thousands of little operations in each iteration. A
graph names them once. It reads and writes the same places in memory at each replay, so whatever changes from
one iteration to the next (batches, learning rate, accuracies) has to lie in tensors that stay where they are.
`Method.replayable` is the promise of a method that this is so.

Graphs belong to a shape: the last batch of an epoch, which may be short, has one of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longtail.training.method import Batch, Moment
from longtail.training.optimisers import SGD

Scalars = dict[str, Tensor]
Iterate = Callable[[Batch, Batch | None, Moment], Scalars]
Record = Callable[[Callable[[], Scalars]], tuple[Scalars, Callable[[], None]]]
"""Takes note of what a function does, without doing it; returns where its results will lie, and what does it.
Raises RuntimeError where that is not possible."""

PLAIN_FIRST = 2
"""Iterations of each shape that run as they are: memory is laid out and libraries choose their kernels."""


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A CUDA stream for the block, as recording needs one; on other devices nothing."""
    if device.type != "cuda":
        yield
        return
    before, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    own.wait_stream(before)
    with torch.cuda.stream(own):
        yield
    before.wait_stream(own)


def cuda_recorder() -> Record:
    """Records CUDA graphs on the current stream; they share their memory, as no two run at once."""
    pool = torch.cuda.graph_pool_handle()

    def record(function: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            results = function()
        return results, graph.replay

    return record


class AnyMoment(Moment):
    """The moment of every replay: only the learning rate is known, as a tensor."""

    def __getattribute__(self, name: str) -> Any:
        """Raises RuntimeError where a method asks for what a recording would freeze."""
        if name in ("iteration", "iterations", "progress"):
            raise RuntimeError(f"a replayable method must not ask for the {name}")
        return super().__getattribute__(name)


class _Replay:
    """One recorded iteration, and the tensors that it reads."""

    def __init__(
        self, iterate: Iterate, record: Record, batch: Batch, meta: Batch | None, optimiser: SGD | None
    ) -> None:
        self.batches = [_copied(own) for own in (batch, meta) if own is not None]
        self.rate = torch.zeros((), device=batch.images.device)
        moment = AnyMoment(0, 0, self.rate, optimiser)
        first, *second = self.batches
        self.scalars, self.replay = record(lambda: iterate(first, second[0] if second else None, moment))

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
    """`iterate`, replayed from its third call with batches of the same shapes on."""

    def __init__(self, iterate: Iterate, record: Record) -> None:
        self.iterate, self.record = iterate, record
        self.plain: Counter[tuple[torch.Size, ...]] = Counter()
        self.replays: dict[tuple[torch.Size, ...], _Replay] = {}
        self.refusal: str | None = None
        """Why nothing is recorded any more, in one line."""

    @property
    def told(self) -> str:
        """What came of it, in one line."""
        return self.refusal or f"iterations of {len(self.replays)} shapes"

    def __call__(self, batch: Batch, meta: Batch | None, moment: Moment) -> Scalars:
        """One iteration, recorded or not; the learning rate of `moment` is a tensor on the device."""
        assert isinstance(moment.learning_rate, Tensor)
        shapes = tuple(own.images.shape for own in (batch, meta) if own is not None)
        if shapes not in self.replays and self.plain[shapes] >= PLAIN_FIRST and self.refusal is None:
            try:
                self.replays[shapes] = _Replay(self.iterate, self.record, batch, meta, moment.optimiser)
            except RuntimeError as error:
                self.refusal = " ".join(str(error).split())
        if shapes in self.replays:
            return self.replays[shapes](batch, meta, moment.learning_rate)
        self.plain[shapes] += 1
        return self.iterate(batch, meta, moment)
