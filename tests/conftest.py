"""The order of the tests, and what none leaves to the next."""

import os
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

# before torch is imported: workers with several threads each would fight over the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# where no bytecode may be kept beside the code, each process that a test starts would compile torch again
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")

import pytest

LONGEST = (
    "test_ranks.py",
    "test_pipeline.py",
    "test_executor.py",
    "test_signals.py",
    "test_tracking_guest.py",
    "test_reproduce.py",
    "test_track.py",
    "test_digits_lt.py",
    "test_training_stages.py",
    "test_export.py",
    "test_trust.py",
)
"""One worker runs a whole file: the longest come first, so that no worker ends long after the others."""


@pytest.fixture(scope="module", autouse=True)
def no_process_server() -> Iterator[None]:
    """Stop the server that processes were forked from: in a fork of this process, nobody could reach it."""
    yield
    forkserver._forkserver._stop()  # pyright: ignore[reportAttributeAccessIssue]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `LONGEST` first, in that order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers per core: many tests wait, for DVC, signals or servers."""
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
