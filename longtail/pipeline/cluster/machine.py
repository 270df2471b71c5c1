"""The workers of this machine: one process a GPU, or a core, started again when one dies."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from longtail.pipeline import console
from longtail.pipeline.cluster.addresses import check_address, security
from longtail.pipeline.cluster.proof import facts
from longtail.pipeline.cluster.worker import serve
from longtail.pipeline.devices import cores, has_nvidia_device
from longtail.pipeline.workers import GRACE

PAUSE = 0.5
"""Seconds until a worker that ended is started again; doubled after each failure, up to `LONGEST`."""
LONGEST = 60.0


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not has_nvidia_device():
        return []
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else list(map(str, range(count)))


@dataclass
class Place:
    """One worker of the machine, whatever process it is at the moment."""

    name: str
    gpu: str | None
    process: Any = None
    pause: float = PAUSE
    next_start: float = 0.0


def run_workers(address: str, count: int, insecure: bool) -> None:
    """Keep `count` workers (0: one a GPU, or else a core) at the scheduler, until Ctrl-C or SIGTERM.

    Raises InputError.
    """
    check_address(address, insecure)
    security(address)
    own = facts()
    # one a GPU: two trainings on one would share its memory
    found: list[str | None] = [*gpus()]
    visible = found[: count or None] or [None] * (count or cores())
    # from a server that has imported the code once, and never used a GPU
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["longtail.pipeline.cluster.preload"])
    places = [Place(f"{platform.node()}-{number}", gpu) for number, gpu in enumerate(visible)]

    def start(place: Place) -> None:
        words = (address, place.name, place.gpu, len(places), own)
        place.process = context.Process(target=serve, args=words, daemon=False)
        place.process.start()

    what = "one a GPU" if visible[0] is not None else "on the CPU"
    console.say(
        "workers", f"{console.counted(len(places), 'worker')}, {what}, for {address}; Ctrl-C ends them"
    )
    try:
        for place in places:
            start(place)
        while True:
            wait([place.process.sentinel for place in places if place.process], timeout=0.2)
            for place in places:
                if place.process is not None and not place.process.is_alive():
                    _note_end(place)
                if place.process is None and time.monotonic() >= place.next_start:
                    start(place)
    except console.Stopped:
        pass
    finally:
        _end([place.process for place in places if place.process is not None])
    console.done("workers", "all have left; unfinished trainings are saved")


def _note_end(place: Place) -> None:
    code, place.process = place.process.exitcode, None
    if code > 0:
        why = "failed"
        place.pause = min(LONGEST, 2 * place.pause)
    else:
        why = f"was killed by {signal.Signals(-code).name}" if code else "lost its scheduler"
        place.pause = PAUSE
    place.next_start = time.monotonic() + place.pause
    console.say("workers", f"{place.name} {why}; starting it again")


def _end(processes: list[Any]) -> None:
    """Let all save and leave; kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE + 4
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
