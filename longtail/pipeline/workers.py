"""The local executor: worker processes that train cells, and save on a signal."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.errors import MachineError
from longtail.pipeline.signals import Signals, note_signals

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job

GRACE = 8.0
"""Seconds for workers to end their iteration and save after a signal; then they are killed."""

TrainJob = Callable[..., None]
"""`train_job`, or a function around it."""

_inherited: dict[str, Any] = {}
"""What a worker process gets at its start: images by imbalance, iterations per job, the signal received."""


def _start_worker(inputs: Mapping[float, CellInputs], reached: Any, signalled: Any) -> None:
    from longtail.running.process import do_without_pandas, set_up

    set_up()
    do_without_pandas()
    _inherited.update(inputs=inputs, reached=reached, signalled=signalled)
    note_signals(signalled)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Exit when the parent is gone: nobody waits for the result, and the checkpoint stays."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train_in_worker(train: TrainJob, job: Job, finished: Path, number: int) -> None:
    signalled, reached = _inherited["signalled"], _inherited["reached"]

    def note(iteration: int) -> None:
        reached[number] = iteration

    if not signalled.value:
        inputs = _inherited["inputs"][job.cell.imbalance]
        train(job, finished, inputs, note, lambda: bool(signalled.value))


def print_warning(line: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def train_job(
    job: Job,
    finished: Path,
    inputs: CellInputs,
    reached: Callable[[int], None] = lambda iteration: None,
    stopping: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = print_warning,
) -> None:
    """Train a cell into the folder `finished`, which appears whole; if it diverged, with the reason only.

    Of several ranks, rank 0 makes it, and the others wait.
    """
    from longtail.errors import DivergedError
    from longtail.files import move_whole, own_temporary, remove_leftovers
    from longtail.running.cell_folders import Failure
    from longtail.running.cells import train_cell
    from longtail.running.checkpoints import Checkpoints

    first = job.ranks.rank == 0
    if first:
        remove_leftovers(finished.parent)
    partial = own_temporary(finished)
    failure = None
    try:
        if not train_cell(job, inputs, partial, reached, stopping, warn if first else lambda line: None):
            return
    except DivergedError as error:
        ranks = job.ranks.size
        failure = Failure(job.fingerprint, str(error), error.iteration, job.plan.network, ranks)
    if first and failure is not None:
        failure.write(partial)
    if first:
        move_whole(partial, finished)
    job.ranks.largest(0)  # by now it is there
    reached(job.training.iterations)
    if first and job.checkpoint is not None and failure is None:
        Checkpoints(job.checkpoint, job.fingerprint).remove()


class Workers:
    """An `Executor` of `count` local processes, forked on a CPU and spawned on a GPU."""

    def __init__(
        self,
        count: int,
        jobs: int,
        device: str,
        methods: set[str],
        inputs: Mapping[float, CellInputs],
        train: TrainJob = train_job,
    ) -> None:
        """`count` of them for up to `jobs` jobs with these `methods`, on images by imbalance."""
        self._train = train
        self.workers = count
        from longtail.meta.tangents import load_forward_mode
        from longtail.methods import find_method

        if any(find_method(method).uses_meta_batch for method in methods):
            load_forward_mode()  # once, not in every worker
        # forked workers share torch and the images with this process, which itself never computes
        fork = hasattr(os, "fork") and sys.platform == "linux" and device == "cpu"
        context = multiprocessing.get_context("fork" if fork else "spawn")
        # no locks: each job has its own slot, and a killed worker would keep a lock
        self._reached, self._signalled = context.RawArray("L", jobs), context.RawValue("i", 0)
        self.signals = Signals(self._signalled)
        self._futures: dict[str, Future[None]] = {}
        start = (inputs, self._reached, self._signalled)
        self._pool = ProcessPoolExecutor(count, context, _start_worker, start)

    def submit(self, job: Job, finished: Path) -> Future[None]:
        """Train `job` into the folder `finished`, as soon as a worker is free."""
        future = self._pool.submit(_train_in_worker, self._train, job, finished, len(self._futures))
        self._futures[job.fingerprint] = future
        return future

    @property
    def reached(self) -> dict[str, int]:
        """Iterations done of each job, by its fingerprint."""
        return dict(zip(self._futures, self._reached, strict=False))  # later slots are empty

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                self.signals.stop()
            if self._signalled.value:
                _end([*self._futures.values()])
            self._pool.shutdown()
        finally:
            self.signals.restore()
        if isinstance(error, BrokenProcessPool):
            raise MachineError(
                "a worker was killed (out of memory?); re-run the same command to resume"
            ) from None


def _end(futures: list[Future[None]]) -> None:
    """Wait for the workers to save and return; kill them after `GRACE`, or if the pool is broken."""
    deadline = time.monotonic() + GRACE
    wait(futures, timeout=GRACE)
    broken = any(future.done() and isinstance(future.exception(), BrokenProcessPool) for future in futures)
    if broken or time.monotonic() >= deadline:
        for worker in multiprocessing.active_children():
            worker.kill()
