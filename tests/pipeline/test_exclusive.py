"""A cell is never trained twice at once, whoever dies or stops meanwhile."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from longtail.pipeline import exclusive

JOB: Any = SimpleNamespace(name="imb50-focal-seed1")
HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print(flush=True)
    input()
"""


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "finished"


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trainings that ran; each makes the folder, with the lock held."""
    names: list[str] = []

    def train(job: Any, folder: Path, *rest: Any) -> None:
        names.append(job.name)
        with pytest.raises(TimeoutError):
            FileLock(folder.with_name("lock")).acquire(blocking=False)
        folder.mkdir()

    monkeypatch.setattr(exclusive, "train_job", train)
    monkeypatch.setattr(exclusive, "PAUSE", 0.01)
    return names


@pytest.fixture
def holder(finished: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains the cell."""
    words = [sys.executable, "-c", HOLD, str(finished.with_name("lock"))]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_cell_is_trained_once_and_leaves_no_lock(finished: Path, trained: list[str]) -> None:
    exclusive.train_exclusively(JOB, finished, None)  # type: ignore[arg-type]
    exclusive.train_exclusively(JOB, finished, None)  # type: ignore[arg-type]
    assert trained == [JOB.name]
    assert [path.name for path in finished.parent.iterdir()] == ["finished"]


def test_the_result_of_another_process_is_waited_for(
    finished: Path, trained: list[str], holder: subprocess.Popen[str]
) -> None:
    said: list[str] = []

    def finish() -> bool:  # asked while it waits
        finished.mkdir(exist_ok=True)
        holder.communicate("\n")
        return False

    exclusive.train_exclusively(JOB, finished, None, stopping=finish, warn=said.append)  # type: ignore[arg-type]
    assert said == [f"{JOB.name}: another process trains it; waiting for its result"]
    assert trained == []


def test_the_training_of_a_killed_process_resumes_here(
    finished: Path, trained: list[str], holder: subprocess.Popen[str]
) -> None:
    def kill() -> bool:
        holder.kill()
        holder.wait()
        return False

    exclusive.train_exclusively(JOB, finished, None, stopping=kill)  # type: ignore[arg-type]
    assert trained == [JOB.name]


def test_who_waits_can_be_stopped(finished: Path, trained: list[str], holder: subprocess.Popen[str]) -> None:
    exclusive.train_exclusively(JOB, finished, None, stopping=lambda: True)  # type: ignore[arg-type]
    assert trained == []
    assert holder.poll() is None
