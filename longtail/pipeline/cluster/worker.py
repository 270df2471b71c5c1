"""One worker process of a machine: what it trains, how it reports, and how it leaves.

Dask's nanny would kill a training at 95 % of the memory, and its processes are daemons, which may not start
others to decode images: so these are ordinary processes without a nanny, which `machine` starts again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError
from longtail.pipeline.workers import GRACE

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs

TOPIC = "longtail"
"""Of the events that workers send to clients: iterations done, warnings."""

EVERY = 0.5
"""Seconds between two reports of the iterations done."""

_own: dict[str, Any] = {}
"""What this process is: its facts (see `proof`), host, decoders."""
_stopped: set[str] = set()
"""The runs whose trainings save and return."""
_leaving = threading.Event()


def _this_worker() -> dict[str, Any]:
    if not _own:
        raise InputError("this worker", "was not started by `longtail workers`", "start it so")
    return _own


def prove(folder: str, probe: str, benchmark: str) -> dict[str, Any]:
    """A task: the facts of this process, with what it reads in the shared folder."""
    own = _this_worker()
    try:
        os.chdir(folder)
        content = Path(probe).read_text(encoding="utf-8")
    except OSError:
        return {**own, "probe": None, "pool": None}
    try:
        pool = _pool(folder, benchmark).fingerprint
    except InputError as error:
        pool = str(error)
    return {**own, "probe": content, "pool": pool}


@lru_cache(maxsize=1)
def _pool(folder: str, benchmark: str) -> Any:
    from longtail.data.pools import read_pool
    from longtail.pipeline import paths

    return read_pool(Path(folder) / paths.pool(benchmark))


@dataclass(frozen=True)
class Order:
    """A job for a worker, without anything large; all paths are as the client has them."""

    run: str
    folder: str
    """The client's working folder."""
    job: bytes
    """As JSON: Dask's scheduler unpickles arguments, and may hold older code."""
    finished: str
    pool: str
    """Its fingerprint."""
    images: str | None
    """The root of image files; None: the images are an array in the shared folder."""


@lru_cache(maxsize=1)
def _images(folder: str, benchmark: str, fingerprint: str, root: str | None) -> Any:
    from longtail.data.pools import read_images
    from longtail.pipeline import paths
    from longtail.pipeline.inputs import PoolImages

    pool = _pool(folder, benchmark)
    if pool.fingerprint != fingerprint:
        _pool.cache_clear()
        pool = _pool(folder, benchmark)
    place = Path(folder) / paths.images(benchmark)
    return PoolImages(pool, read_images(place, pool, mapped=True) if root is None else Path(root))


def _inputs(order: Order, job: Any) -> CellInputs:
    """The images of `job`, read, or drawn if their stages come later. Raises InputError."""
    from longtail.pipeline.inputs import draw_inputs, read_inputs
    from longtail.planning.fingerprints import fingerprint
    from longtail.running.cell_folders import read_cell

    shared = _images(order.folder, job.plan.benchmark, order.pool, order.images)

    def fits(inputs: CellInputs) -> bool:
        return fingerprint(job.plan, job.cell, inputs.fingerprints) == job.fingerprint

    try:
        inputs = read_inputs(job.plan, shared)
    except InputError:
        inputs = None
    if inputs is None or not fits(inputs):
        inputs = draw_inputs(job.plan.benchmark, job.plan.imbalance, shared)
        if not fits(inputs):
            raise InputError(order.folder, "its images are not those of the client", "mount the same folder")
    if job.features is not None:
        below = fingerprint(job.plan, job.cell.below, inputs.fingerprints)
        if read_cell(job.features).fingerprint != below:
            raise InputError(job.features, "features of another training", "mount the same folder")
    return inputs


def train(order: Order) -> bool:
    """A task: train a cell into its folder, unless that is there; whether it is there now.

    Raises what a training raises, with the name of this host.
    """
    import torch
    from distributed import get_worker
    from pydantic import TypeAdapter

    from longtail.pipeline.exclusive import train_exclusively
    from longtail.running.jobs import Job

    own, worker = _this_worker(), get_worker()
    key, last = worker.get_current_task(), [0.0, 0]
    job = TypeAdapter(Job).validate_json(order.job)
    job = replace(job, device=own["device"], decoders=own["decoders"])
    finished = Path(order.finished)

    def tell(**what: Any) -> None:
        worker.log_event(TOPIC, {"run": order.run, "cell": job.fingerprint, "host": own["host"], **what})

    def reached(iteration: int) -> None:
        last[1] = iteration
        if time.monotonic() - last[0] >= EVERY:
            last[0] = time.monotonic()
            tell(reached=iteration)

    def stopping() -> bool:
        # a client that is gone has released the task; one that lost its scheduler cannot say so
        task = worker.state.tasks.get(key)
        wanted = task is not None and task.state == "executing" and worker.status.name == "running"
        return not wanted or _leaving.is_set() or order.run in _stopped

    try:
        os.chdir(order.folder)
        torch.set_num_threads(1)  # see `workers`
        if not stopping():
            inputs = _inputs(order, job)
            train_exclusively(job, finished, inputs, reached, stopping, lambda line: tell(warning=line))
    except Exception as error:
        raise _at(own["host"], error) from error
    finally:
        tell(reached=last[1])
    return finished.is_dir()


def _at(host: str, error: Exception) -> Exception:
    """`error` with the name of the host in its line."""
    if isinstance(error, InputError):
        return InputError(f"{host}: {error.where}", error.problem, error.remedy)
    if isinstance(error, OSError) and error.errno is not None:
        return type(error)(error.errno, f"{host}: {error.strerror}", error.filename)
    error.add_note(f"on {host}")
    return error


def stop(run: str) -> None:
    """Called in the worker, beside its task: let the trainings of `run` save and return."""
    _stopped.add(run)


def serve(address: str, name: str, gpu: str | None, together: int, facts: dict[str, Any]) -> None:
    """The whole life of a worker process; it ends when it is told to, or its scheduler or parent is gone.

    Args:
        gpu: the only one it sees, as in CUDA_VISIBLE_DEVICES; None: it trains on the CPU.
        together: workers of this machine, which share its cores.
        facts: see `proof.facts`.
    """
    import dask.config
    import torch

    from longtail.pipeline.devices import decoder_count, device_name
    from longtail.running import process

    os.environ["CUDA_VISIBLE_DEVICES"] = gpu or ""
    process.set_up()
    device = "cpu" if gpu is None else "cuda"
    _own.update(
        facts,
        host=name.rpartition("-")[0],
        device=device,
        gpus=torch.cuda.device_count() if gpu is not None else 0,
        hardware=device_name(device),
        decoders=decoder_count(device, together),
    )
    # its profiler interrupts the training a hundred times a second
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        asyncio.run(_serve(address, name))
    os._exit(0)  # whatever thread of Dask is still there


async def _serve(address: str, name: str) -> None:
    from distributed import Worker

    from longtail.pipeline.cluster.addresses import security

    loop, leave = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave.set)
    _call_when_alone(lambda: loop.call_soon_threadsafe(leave.set))
    with tempfile.TemporaryDirectory(prefix="longtail-worker-") as folder:
        worker = Worker(
            address,
            name=f"{name}-{os.getpid()}",
            nthreads=1,
            memory_limit=0,
            security=security(address),
            local_directory=folder,
            dashboard_address="127.0.0.1:0",
        )

        async def live() -> None:
            await worker
            print(f"{'workers':<12} {name} joined {address}", flush=True)
            await worker.finished()

        living, leaving = asyncio.ensure_future(live()), asyncio.ensure_future(leave.wait())
        await asyncio.wait({living, leaving}, return_when=asyncio.FIRST_COMPLETED)
        _leaving.set()
        end = time.monotonic() + GRACE
        while worker.active_keys and time.monotonic() < end:
            await asyncio.sleep(0.05)
        if leaving.done() and worker.status.name == "running":
            await worker.close(timeout=2)
        if living.done() and living.exception() is not None:
            raise living.exception() from None  # type: ignore[misc]


def _call_when_alone(leave: Callable[[], object]) -> None:
    """Call `leave` when the parent process is gone."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        leave()

    threading.Thread(target=watch, daemon=True).start()
