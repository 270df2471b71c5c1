"""The order of the tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's tests come first: they take longest, and the other workers do the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
