"""A Dask scheduler and `longtail workers` for a test, which never outlive it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.stage_runs import environment

DEADLY = "focal"
"""The method that kills each worker of `HOOKED`."""

HOOKED = """
from longtail.pipeline import console
from longtail.pipeline.cluster import machine
from tests.support.clusters import serve
machine.serve = serve
console.run(__import__("longtail.commands.workers", fromlist=["main"]).main, "workers")
"""
"""Like `longtail workers`, with `serve` below."""


def serve(*words: Any) -> None:
    """A worker process that appends what it trains to the file TESTS_TRAINED, and dies of `DEADLY`."""
    from longtail.pipeline import exclusive
    from longtail.pipeline.cluster import worker

    train = exclusive.train_job

    def noted(job: Any, *rest: Any) -> None:
        with Path(os.environ["TESTS_TRAINED"]).open("a") as file:
            file.write(f"{job.name}\n")
        if job.method == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        train(job, *rest)

    exclusive.train_job = noted
    worker.serve(*words)


def decode(path: str, content: str) -> list[int]:
    """The shape of an image that a process below a worker decodes."""
    from longtail.training.from_files.decoders import Decoders, Order

    decoders = Decoders(1)
    try:
        return list(decoders.begin(Order([(Path(path), content)], None, None, 8)).images().shape)
    finally:
        decoders.close()


Words = tuple[str, ...]


@contextmanager
def group(words: Words, log: Path, prefix: Words = (), **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with all that it starts, killed at the end; it works in the folder of `log`."""
    with log.open("a") as file:
        process = subprocess.Popen(
            [*prefix, sys.executable, *words],
            env=environment(**variables),
            cwd=log.parent,
            stdout=file,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def scheduler(
    folder: Path, address: str = "tcp://127.0.0.1:0", prefix: Words = (), **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a scheduler that answers."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    protocol, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    words = ("-m", "dask", "scheduler", "--host", host, "--port", port, "--no-dashboard")
    words += ("--protocol", protocol, "--scheduler-file", str(file))
    with group(words, folder / "scheduler.log", prefix, **variables) as process:
        yield read(file, process), process


def read(file: Path, process: subprocess.Popen[str]) -> str:
    """The address in the file of a scheduler, once it is there."""
    deadline = time.monotonic() + 120
    while True:
        with suppress(OSError, ValueError):
            return json.loads(file.read_text())["address"]
        assert process.poll() is None, (file.parent / "scheduler.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_processes(machine: subprocess.Popen[str]) -> list[int]:
    """The workers that run now: below the server that `longtail workers` forks them from."""
    below = psutil.Process(machine.pid).children()
    return [
        one.pid for server in below if "forkserver" in " ".join(server.cmdline()) for one in server.children()
    ]
