"""What MLflow has no public interface for: a prepared view of runs, its address, and a database made at once.

`tests/pipeline/test_mlflow_internals.py` fails if the installed MLflow has changed any of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

VIEW = "results"
"""Name of the prepared view of an experiment's runs; MLflow's default view shows no metric."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""The experiment tag that holds it."""


def view_state(columns: Sequence[str]) -> str:
    """The value of `VIEW_TAG`: show `columns`, sorted by the first, largest on top."""
    return json.dumps({"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": list(columns)})


def results_page(experiment: str) -> str:
    """The address of the view, after that of the server.

    Without `workflowType`, or a click on "Model training", MLflow shows its pages for language models.
    """
    return f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"


def create_store(database: Path, artifacts: str) -> None:
    """Make an empty sqlite database with `artifacts` as the address of its artifacts.

    `MlflowClient` would make one, too, but with the artifacts below the working folder.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(sqlite_uri(database), artifacts).engine.dispose()


def sqlite_uri(database: Path) -> str:
    """The address of a sqlite file, quoted by sqlalchemy, which also takes it apart for MLflow."""
    from sqlalchemy.engine import URL

    address = URL.create("sqlite", database=str(database)).render_as_string()
    # of an address without a driver, MLflow takes the quoted path for a real one, and makes its folder
    return address if address.endswith(str(database)) else address.replace("sqlite:", "sqlite+pysqlite:", 1)
