"""Difficult class names go from the predictions through tables and figures into MLflow."""

import csv
import io
import json
from pathlib import Path

import pytest

from longtail.files import write_json
from longtail.pipeline import paths
from tests.support import report_fixtures as fixtures
from tests.support.names import NAMES
from tests.support.stage_runs import run_stage

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_difficult_class_names_reach_every_report_and_mlflow(tmp_path: Path) -> None:
    chosen = fixtures.params(imbalances=(50,), seeds=(1,))
    plans = fixtures.build(tmp_path, chosen, fixtures.SOME)
    for path in tmp_path.rglob("cell.json"):
        write_json(path, {**json.loads(path.read_text()), "class_names": list(NAMES)})
    fixtures.evaluate(tmp_path, plans)
    for stage in ("tabulate", "plot", "page", "track"):
        ran = run_stage(tmp_path, stage)
        assert ran.code == 0, ran.stderr
    rows = csv.DictReader(io.StringIO((tmp_path / "reports/digits-lt/figure2.csv").read_text("utf-8")))
    assert {row["class_name"] for row in rows} == set(NAMES)
    report = json.loads((tmp_path / paths.cell_report(fixtures.BENCHMARK, 50, "cdb_ce", "seed1")).read_text())
    assert report["class_names"] == list(NAMES)
    tracked = list((tmp_path / "mlruns").rglob("per_class.csv"))
    assert len(tracked) >= 3
    for path in tracked:
        assert [row["name"] for row in csv.DictReader(io.StringIO(path.read_text("utf-8")))] == list(NAMES)
