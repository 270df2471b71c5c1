"""A run of MLflow by itself: whole after it was cut short, and of a commit that it names."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longtail.pipeline import tracking
from longtail.pipeline.mlflow_internals import View
from longtail.pipeline.tracking import Record, Tracker

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


VIEW = View("imbalance 50", "results-imbalance-50", ["metrics.`acc_all`"], "params.imbalance = '50'")


def test_a_run_cut_short_is_made_whole_without_doubling_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(tmp_path)
    experiment = tracker.experiment("e", "", [VIEW])
    steps = list(range(tracking.BATCH + 100))  # two calls
    genuine = tracker.client.log_batch
    for calls_done in (0, 1):
        record = Record(
            name="a run",
            identity={"cell": str(calls_done)},
            tags={},
            params={"seed": "1"},
            artifacts={"per_class.csv": b"class"},
            end=2000.0,
            seconds=10.0,
            metrics={"acc_all": 50.0},
            curves={"train_loss": [(step, 1 / (1 + step)) for step in steps]},
        )
        calls = iter(range(2))

        def killed(
            *arguments: Any, calls: Iterator[int] = calls, last: int = calls_done, **more: Any
        ) -> None:
            if next(calls) == last:
                raise KeyboardInterrupt
            genuine(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(tracker.client, "log_batch", killed)
            with pytest.raises(KeyboardInterrupt):
                tracker.log(experiment, record, {})
        begun = tracker.runs(experiment, ("cell",))[str(calls_done),]
        assert begun.info.status == "RUNNING"
        tracker.log(experiment, record, {}, begun)
        whole = tracker.runs(experiment, ("cell",))[str(calls_done),]
        assert (whole.info.run_id, whole.info.status) == (begun.info.run_id, "FINISHED")
        assert (whole.info.end_time, whole.data.metrics["acc_all"]) == (2_000_000, 50.0)
        points = tracker.client.get_metric_history(whole.info.run_id, "train_loss")
        assert [point.step for point in points] == steps
    assert len(tracker.client.search_runs([experiment])) == 2


ODD = ("a%2Fb", "a%20b", "a?b", "a#b", "a b ", "100 %", "a@b:c", "a&b=c;d+e", "it's é")


@pytest.mark.parametrize("name", ODD)
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name / "mlruns"
    root.mkdir(parents=True)
    tracker = Tracker(root)
    experiment = tracker.experiment("e", "", [VIEW])
    record = Record("a run", {"cell": "1"}, {}, {}, {"per_class.csv": b"class"}, end=2000.0)
    tracker.log(experiment, record, {})
    again = Tracker(root)
    (run,) = again.runs(experiment, ("cell",)).values()
    assert [file.path for file in again.client.list_artifacts(run.info.run_id)] == ["per_class.csv"]
    assert [page for page, _ in tracking.results_pages(root)] == ["e · imbalance 50"]
    assert (root / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]  # no folder of a name that was taken apart


def test_the_commit_is_marked_dirty_by_a_change_but_not_by_the_lock_of_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longtail.pipeline.revision import code_tags

    monkeypatch.chdir(tmp_path)
    assert "commit" not in code_tags()
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("a")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "dvc.lock").write_text("b")
    assert code_tags()["commit"] == commit
    (tmp_path / "params.yaml").write_text("b")
    assert code_tags()["commit"] == f"{commit}+dirty"
