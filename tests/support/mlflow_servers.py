"""Real servers of MLflow, on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longtail.pipeline import tracking
from longtail.pipeline.mlflow_internals import sqlite_uri


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """One with a database of its own in `folder`; killed when the block is left."""
    folder.mkdir(exist_ok=True)
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", sqlite_uri(folder / "server.db")]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    with server_process(folder / "log", port, "/health", *words):
        yield


@contextmanager
def server_process(log: Path, port: int, page: str, *words: str) -> Iterator[None]:
    """`mlflow` with these words, once `page` answers; killed when the block is left."""
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env={**os.environ, **tracking.QUIET},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
