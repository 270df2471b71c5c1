"""Trainings on a folder that several machines share: no cell is trained twice at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.pipeline.workers import print_warning, train_job

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job

LOCK = "lock"
"""In the work folder of a cell: locked by the process that trains it, and gone once it is finished."""

PAUSE = 0.5
"""Seconds between two looks at a lock that another process holds."""


def train_exclusively(
    job: Job,
    finished: Path,
    inputs: CellInputs,
    reached: Callable[[int], None] = lambda iteration: None,
    stopping: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = print_warning,
) -> None:
    """`train_job`, unless another process trains the cell: then wait, and use its result.

    If the other process dies, the system releases its lock, and the training resumes here.
    """
    from filelock import FileLock, Timeout

    finished.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(finished.with_name(LOCK))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        warn(f"{job.name}: another process trains it; waiting for its result")
        try:
            lock.acquire(poll_interval=PAUSE, cancel_check=stopping)
        except Timeout:
            return
    try:
        if not finished.is_dir():
            train_job(job, finished, inputs, reached, stopping, warn)
        if finished.is_dir():  # those who still wait for this file find the result
            finished.with_name(LOCK).unlink(missing_ok=True)
    finally:
        lock.release()
