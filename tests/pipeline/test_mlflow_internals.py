"""The parts of MLflow without a public interface are those that the installed version has."""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

import mlflow
import pytest

from longtail.pipeline.mlflow_internals import VIEW_TAG, View, create_store, view_page

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@cache
def pages() -> str:
    """The scripts of MLflow's pages."""
    scripts = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return "".join(path.read_text(encoding="utf-8") for path in sorted(scripts.glob("*.js")))


@pytest.mark.parametrize(
    "name",
    [
        VIEW_TAG.rstrip("."),
        *("viewStateShareKey", "workflowType", "machine_learning"),
        *("orderByKey", "orderByAsc", "selectedColumns", "searchFilter"),
    ],
)
def test_the_prepared_view_uses_names_that_the_pages_know(name: str) -> None:
    assert name in pages(), f"MLflow {mlflow.__version__} does not know {name}: see mlflow_internals.py"


def test_all_names_of_the_view_are_looked_for() -> None:
    assert view_page("7", "a") == "#/experiments/7/runs?viewStateShareKey=a&workflowType=machine_learning"
    state = '{"searchFilter": "x = 1", "orderByKey": "a", "orderByAsc": false, "selectedColumns": ["a", "b"]}'
    assert View("name", "key", ["a", "b"], "x = 1").state == state
    assert "noSuchName" not in pages()


def test_a_new_database_is_whole_and_its_artifacts_are_where_they_should_be(tmp_path: Path) -> None:
    create_store(tmp_path / "mlflow.db", "file:///somewhere")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        (place,) = connection.execute("SELECT artifact_location FROM experiments").fetchone()
    assert place == "file:///somewhere/0"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert [found.name for found in client.search_experiments()] == ["Default"]
