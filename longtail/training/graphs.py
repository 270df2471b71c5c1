"""Recording an iteration once and replaying it; on a GPU, as a CUDA graph.

A small network on a GPU is launch-bound: the CPU issues thousands of small kernels per iteration. A graph
issues them all at once. A replay reads and writes the same memory each time, so whatever changes between
iterations (batches, learning rate, accuracies) must be in tensors that keep their place.
A method declares that this holds with `Method.replayable`.

There is one graph per batch shape: the last batch of an epoch may be shorter.

Each graph proves itself at its first use, and once more after the method's next refresh: it is replayed
beside a plain iteration from the same state. If they differ, or anything raises, the training stays plain.
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
from longtail.training.comparison import Comparison, copies, put_back
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


def check_version(version: str) -> None:
    """Raise RuntimeError for a version of torch that does not record."""
    if TorchVersion(version) < NEEDED:
        raise RuntimeError(f"recording needs torch {NEEDED} or newer, this is {version}")


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


State = Callable[[], dict[str, Tensor]]
"""All tensors that an iteration changes, by name."""


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
        self.doubted = True
        """Whether the next use is compared with a plain iteration."""
        self.refreshed = False
        """Whether the method was refreshed since the recording."""
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

    def __init__(
        self,
        record: Record,
        version: str = torch.__version__,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`warn` is told once, in one line, why a training stays plain."""
        self.record, self.version, self.warn = record, version, warn
        self.plain: Counter[tuple[torch.Size, ...]] = Counter()
        self.replays: dict[tuple[torch.Size, ...], _Replay] = {}
        self.difference = 0.0
        """The largest that a comparison found and allowed; see `Comparison`."""
        self.refusal: str | None = None
        """Why the training stays plain, in one line."""

    @property
    def told(self) -> str:
        """The outcome, in one line."""
        distance = f"up to {self.difference:.1e} from" if self.difference else "equal to"
        return self.refusal or f"iterations of {len(self.replays)} shapes, {distance} plain ones"

    def __call__(
        self, iterate: Iterate, state: State, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> Scalars:
        """Run one iteration of `iterate`, which changes the tensors of `state()`.

        The learning rate of `info` must be a tensor on the device.
        """
        assert isinstance(info.learning_rate, Tensor)
        shapes = tuple(own.images.shape for own in (batch, meta) if own is not None)
        if shapes not in self.replays and self.plain[shapes] >= PLAIN_FIRST and self.refusal is None:
            try:
                check_version(self.version)
                self.replays[shapes] = _Replay(iterate, self.record, batch, meta, info.optimiser)
            except Exception as error:
                self._refuse(flat(error))
        replay = self.replays.get(shapes)
        if replay is None:
            self.plain[shapes] += 1
            return iterate(batch, meta, info)
        if not replay.doubted:
            return replay(batch, meta, info.learning_rate)
        return self._compared(replay, lambda: iterate(batch, meta, info), state, batch, meta, info)

    def refreshed(self) -> None:
        """The method was refreshed: graphs that have not proved themselves since a refresh do so again."""
        for replay in self.replays.values():
            replay.doubted |= not replay.refreshed
            replay.refreshed = True

    def _compared(
        self,
        replay: _Replay,
        plain: Callable[[], Scalars],
        state: State,
        batch: Batch,
        meta: Batch | None,
        info: StepInfo,
    ) -> Scalars:
        """Replay, undo, and run the plain iteration, whose result the training keeps in any case."""
        assert isinstance(info.learning_rate, Tensor)
        before = None
        try:
            before = copies(state())
            replayed = {**replay(batch, meta, info.learning_rate)}
            replayed |= copies(state())
            put_back(state(), before)
            scalars = plain()
            comparison = Comparison(before, copies(state()) | scalars, replayed)
            if not comparison.equal:  # two plain iterations may differ too
                put_back(state(), before)
                scalars = plain()
                comparison.judge(copies(state()) | scalars)
        except Exception as error:
            self._refuse(f"a replay failed: {flat(error)}")
            if before is not None:
                put_back(state(), before)
            return plain()
        if comparison.refusal is None:
            replay.doubted = False
            self.difference = max(self.difference, comparison.largest)
        else:
            self._refuse(comparison.refusal)
        return scalars

    def _refuse(self, reason: str) -> None:
        """Stay plain from now on: a failed recording may have freed memory that earlier graphs still use."""
        self.refusal = reason
        self.replays.clear()
        self.warn(f"iterations are not replayed, which costs time only: {reason}")
