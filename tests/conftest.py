"""The order of the tests, and who waits for whom."""

import os

# before torch is imported: workers with several threads each would fight over the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

LONGEST = "test_pipeline.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's tests come first: they take longest, and the other workers do the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A worker that is at the rest steps back a little, so that the pipeline's tests do not wait for it."""
    if item.path.name != LONGEST and os.nice(0) == 0:
        os.nice(5)
