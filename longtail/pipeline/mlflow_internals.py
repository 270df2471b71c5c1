"""What MLflow has no public interface for: a prepared view of runs, its address, and a database made at once.

`tests/pipeline/test_mlflow_internals.py` fails if the installed MLflow has changed any of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VIEW_TAG = "mlflow.sharedViewState."
"""How the experiment tags begin that hold prepared views, before the key."""
RESULTS = "results-"
"""How the keys of views begin that `longtail ui` lists; views that people share have others."""


@dataclass(frozen=True)
class View:
    """A prepared view of an experiment's runs; MLflow's default view shows no metric.

    It has the runs that `search` finds (in MLflow's language; empty: all), with `columns`, sorted by the
    first, largest on top.
    """

    name: str
    key: str
    columns: Sequence[str]
    search: str = ""

    @property
    def state(self) -> str:
        """The value of its tag."""
        order = {"orderByKey": self.columns[0], "orderByAsc": False}
        return json.dumps({"searchFilter": self.search, **order, "selectedColumns": list(self.columns)})


def view_page(experiment: str, key: str) -> str:
    """The address of a view, after that of the server.

    Without `workflowType`, or a click on "Model training", MLflow shows its pages for language models.
    """
    return f"#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"


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
