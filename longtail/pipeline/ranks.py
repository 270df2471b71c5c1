"""Ranks: processes that torchrun started, and that train each cell together."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError, MachineError, and_more
from longtail.pipeline import console
from longtail.pipeline.devices import choose_device
from longtail.pipeline.signals import Signals
from longtail.pipeline.workers import train_job
from longtail.running.process import set_up
from longtail.training.ranks import ALONE, RankLostError, Ranks

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job

PATIENCE = timedelta(hours=1)
"""How long a rank waits for the others, who may be reading images or saving a large network."""
DYING = 5.0
"""Seconds in which a killed process ends: the kernel closes its connections first."""


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Within the block, this process is one of torchrun's ranks; `ALONE` where torchrun did not start it.

    Ranks talk through NCCL on GPUs and gloo on CPUs. Only rank 0 prints. If the block raises, one rank lets
    the error through (and says which rank died, if one did), and the others exit in silence.
    """
    if not console.under_torchrun() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    from torch import distributed

    meeting = distributed.rendezvous("env://")  # pyright: ignore[reportPrivateImportUsage]
    store, rank, size = next(iter(meeting))
    store.set(f"process {rank}", f"{os.getpid()} {socket.gethostname()}")
    if rank > 0:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    try:
        backend = "gloo"
        if choose_device(device) == "cuda":
            _use_gpu()
            backend = "cpu:gloo,cuda:nccl"
        distributed.init_process_group(backend, timeout=PATIENCE, world_size=size, rank=rank, store=store)
        yield Ranks(rank, size)
    except BaseException as error:
        for number in (signal.SIGINT, signal.SIGTERM):  # torchrun sends SIGTERM once a rank has died
            signal.signal(number, signal.SIG_IGN)
        store.set(f"left {rank}", "")
        died = []
        if isinstance(error, RankLostError | console.Stopped):
            died = _died(store, size, within=DYING if isinstance(error, RankLostError) else 0.0)
        if isinstance(error, console.Stopped) and not died:
            if rank > 0 or store.add("told", 1) > 1:
                raise SystemExit(128 + error.number) from None
            raise
        if store.add("told", 1) > 1:  # another rank says it
            raise SystemExit(3) from None
        if isinstance(error, RankLostError) or died:
            one = "rank" if len(died) == 1 else "ranks"
            what = f"{one} {and_more(died, 8)} died (killed, out of memory?)" if died else str(error)
            raise MachineError(f"{what}; re-run the same command to resume") from None
        raise
    store.set(f"left {rank}", "")
    distributed.destroy_process_group()


def _use_gpu() -> None:
    """Make this rank's GPU the current device of the thread. Raises InputError if there are too few."""
    import torch

    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        given = os.environ["LOCAL_WORLD_SIZE"]
        raise InputError(f"--nproc-per-node {given}", f"{there} GPUs here", f"start {there} or fewer")
    torch.cuda.set_device(number)


def _died(store: Any, size: int, within: float = 0.0) -> list[int]:
    """The ranks of this machine that ended without a word, or do so before `within` seconds are over."""
    import psutil

    def left(rank: int) -> bool:
        return store.check([f"left {rank}"])

    def died(rank: int) -> bool:
        if not store.check([f"process {rank}"]):  # still on its way
            return False
        process, host = store.get(f"process {rank}").decode().split()
        if host != socket.gethostname() or left(rank):
            return False
        try:
            return psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    until = time.monotonic() + within
    while True:
        found = [rank for rank in range(size) if died(rank)]
        if found or all(map(left, range(size))) or time.monotonic() >= until:
            return found
        time.sleep(0.02)


class RankedTrainings:
    """An `Executor` that trains one cell at a time, in a thread of each rank."""

    workers = 1

    def __init__(self, ranks: Ranks, device: str, inputs: Mapping[float, CellInputs]) -> None:
        """On images by imbalance."""
        self._ranks, self._inputs = ranks, inputs
        self._noted = SimpleNamespace(value=0)
        self.signals = Signals(self._noted)
        self._reached: dict[str, int] = {}
        self._futures: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1, initializer=_start, initargs=(device,))

    def submit(self, job: Job, finished: Path) -> Future[None]:
        """Train `job` with the other ranks, which submit it too."""
        self._futures.append(self._pool.submit(self._train, replace(job, ranks=self._ranks), finished))
        return self._futures[-1]

    def _train(self, job: Job, finished: Path) -> None:
        def note(iteration: int) -> None:
            self._reached[job.fingerprint] = iteration

        train_job(job, finished, self._inputs[job.cell.imbalance], note, lambda: bool(self._noted.value))
        if not finished.is_dir():
            self.signals.stop()  # the signal may have reached another rank only

    @property
    def reached(self) -> dict[str, int]:
        """Iterations done of each job, by its fingerprint."""
        return dict(self._reached)

    def __enter__(self) -> RankedTrainings:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.signals.stop()
        self._pool.shutdown()
        self.signals.restore()
        failed = [future.exception() for future in self._futures if future.exception() is not None]
        if error is None and failed:
            raise failed[0]  # type: ignore[misc]


def _start(device: str) -> None:
    set_up()
    if device == "cuda":
        _use_gpu()
