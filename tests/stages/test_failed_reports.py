"""Cells whose training failed: marked in tables, left out of figures, runs with status FAILED in MLflow."""

import csv
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from longtail.config.layouts import read_layouts
from longtail.pipeline import paths
from longtail.planning.plans import BundleMembers, Member, read_tables_plan
from longtail.reporting.paper import Comparison, verdict_notes
from longtail.reporting.reports import CellReport, FailedReport, read_report, read_reports
from longtail.reporting.table_text import markdown
from longtail.reporting.tables import fill, long_csv
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import run_stage

REASON = "not finite by iteration 57 at learning rate 0.2: train_loss nan"
FAILED = {"imb50-difficulty_net-seed2", "imb50-difficulty_net-crt-seed2"}
PLACES = (("difficulty_net", "seed2"), ("difficulty_net-heads", "crt-seed2"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Difficulty-Net and its heads beside cross-entropy; seed 2 failed, and so a head on its features."""
    folder = tmp_path_factory.mktemp("failed")
    chosen = fixtures.params(imbalances=(50,))
    variants = ("cross_entropy", "difficulty_net", "difficulty_net-heads", "difficulty_net_lambda_0")
    plans = fixtures.build(folder, chosen, variants)
    for place in PLACES:
        fixtures.fail(folder, *place, REASON)
    fixtures.evaluate(folder, plans)
    for stage in ("tabulate", "plot", "page"):
        result = run_stage(folder, stage)
        assert result.code == 0, result.stderr
        (folder / stage).write_text(result.stdout)
    return folder


def report(name: str) -> Path:
    return paths.report(fixtures.BENCHMARK, name)


def rows(folder: Path) -> dict[str, list[str]]:
    text = (folder / report("table1.md")).read_text()
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_a_report_says_why_a_cell_failed(folder: Path) -> None:
    for place in PLACES:
        found = json.loads((folder / paths.cell_report(fixtures.BENCHMARK, 50, *place)).read_text())
        assert (found["failed"], found["iteration"]) == (REASON, 57)
        assert "accuracy" not in found
    result = run_stage(folder, "evaluate", "50", "difficulty_net")
    assert "done: 2 reports, mean accuracy all " in result.stdout
    assert result.stdout.rstrip().endswith("1 cells FAILED: imb50-difficulty_net-seed2")


def test_a_place_with_a_failed_seed_shows_no_mean_of_the_others(folder: Path) -> None:
    found = rows(folder)
    assert found["Ours"][0] == found["Ours + cRT"][0] == "failed (1 of 3)"
    assert "±" in found["Ours + LWS"][0]
    assert "±" in found["Cross-entropy"][0]
    assert not any("±" in cell for cell in found["Ours"])
    with (folder / report("table1.csv")).open() as file:
        lost = [row for row in csv.DictReader(file) if row["row"] == "Ours"]
    assert {(row["status"], row["mean"], row["seeds"]) for row in lost} == {("failed (1 of 3)", "", "0")}
    metrics = json.loads((folder / report("metrics.json")).read_text())["imb50"]
    assert "difficulty_net" not in metrics
    assert {"cross_entropy", "difficulty_net+lws"} <= set(metrics)


def test_the_reasons_stand_below_the_table(folder: Path) -> None:
    text = (folder / report("table1.md")).read_text()
    for cell in FAILED:
        assert f"- FAILED: {cell}, iteration 57: {REASON}\n" in text
    assert "not run so far" not in text
    assert "FAILED" not in (folder / report("table5.md")).read_text()
    said = (folder / "tabulate").read_text()
    assert "failed (1 of 3)" in said
    assert "2 cells FAILED" in said


def test_beside_the_paper_a_failed_place_has_a_verdict_of_its_own() -> None:
    lost = Comparison(paper=None, ours=None, shortened=False, failed=True)
    assert lost.verdict == ""
    lost = Comparison(paper=Decimal("44.7"), ours=None, shortened=False, failed=True)
    assert (lost.verdict, lost.text) == ("failed", "failed")
    assert (
        "Of its 2 numbers: 1 failed, 1 not run."
        in verdict_notes([lost, Comparison(paper=Decimal("44.7"), ours=None, shortened=False)])[0]
    )


def test_of_two_networks_the_one_that_failed_is_marked_and_the_other_has_its_number(folder: Path) -> None:
    known = read_report(folder / paths.cell_report(fixtures.BENCHMARK, 50, "difficulty_net", "seed1"))
    assert isinstance(known, CellReport)
    networks = ["resnet10", "resnet50"]
    one = known.model_copy(update={"benchmark": "imagenet-lt", "network": "resnet10", "imbalance": 256.0})
    failure = FailedReport(
        failed=REASON,
        iteration=57,
        head=None,
        network="resnet50",
        cell="imb256-resnet50-difficulty_net-seed1",
        **{name: getattr(one, name) for name in ("benchmark", "imbalance", "variant", "seed")},
        **{name: getattr(one, name) for name in ("fingerprint", "recipe")},
    )
    member = Member(member="seed1", head=None, seed=1, recipe=one.recipe)
    bundles = [
        BundleMembers(
            imbalance=256, bundle=f"{name}-difficulty_net", variant="difficulty_net", members=[member]
        )
        for name in networks
    ]
    plan = read_tables_plan(folder / paths.tables_plan(fixtures.BENCHMARK)).model_copy(
        update={"benchmark": "imagenet-lt", "imbalances": [256.0], "networks": networks, "bundles": bundles}
    )
    layout = next(found for found in read_layouts().of("imagenet-lt").tables if found.columns == "networks")
    table = fill(layout, plan, [one], [failure])
    assert (table.planned, table.absent) == (2, 0)
    ours = [row for row in csv.DictReader(long_csv(table).splitlines()) if row["row"] == "Ours"]
    last = {row["network"]: row for row in ours if (row["split"], row["weights"]) == ("all", "last")}
    assert last["resnet10"]["status"] == ""
    assert float(last["resnet10"]["mean"]) == pytest.approx(one.accuracy["all"], abs=1e-4)
    assert (last["resnet50"]["status"], last["resnet50"]["mean"]) == ("failed (1 of 1)", "")
    (line,) = [line for line in markdown(table).splitlines() if line.startswith("| Ours  ")]
    assert line.count("failed (1 of 1)") == 1


def test_a_table_of_which_everything_failed_says_so(tmp_path: Path) -> None:
    plans = fixtures.build(tmp_path, fixtures.params(imbalances=(50,), seeds=(2,)), ("difficulty_net",))
    fixtures.fail(tmp_path, *PLACES[0], REASON)
    fixtures.evaluate(tmp_path, plans)
    plan = read_tables_plan(tmp_path / paths.tables_plan(fixtures.BENCHMARK))
    reports, failures = read_reports(
        plan,
        lambda *cell: tmp_path / paths.cell_report(fixtures.BENCHMARK, *cell),
        lambda *cell: tmp_path / paths.model(fixtures.BENCHMARK, *cell),
    )
    assert (reports, [failure.cell for failure in failures]) == ([], ["imb50-difficulty_net-seed2"])
    text = markdown(fill(read_layouts().tables[0], plan, reports, failures))
    assert "failed (1 of 1)" in text
    assert REASON in text
    for stage in ("tabulate", "plot", "page"):
        assert run_stage(tmp_path, stage).code == 0
    assert REASON in (tmp_path / report("index.html")).read_text()


def test_figures_leave_the_whole_curve_out(folder: Path) -> None:
    said = (folder / "plot").read_text()
    assert "imb50-difficulty_net-seed2 FAILED: left out, with the other seeds of its curve" in said
    assert "curves.csv and 4 of 4 figures" in said
    for name in ("curves.csv", "figure1.csv"):
        with (folder / report(name)).open() as file:
            variants = {row["variant"] for row in csv.DictReader(file) if not row.get("head")}
        assert "difficulty_net" not in variants
        assert "cross_entropy" in variants


def test_a_failure_of_another_training_is_stale(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / paths.model(fixtures.BENCHMARK, 50, *PLACES[0]) / "failed.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "ab" * 32}))
    result = run_stage(copy, "tabulate")
    assert result.code == 2
    assert "seed2.json: of another training than the model of that name" in result.stderr


@pytest.mark.parametrize("content", ["{", "{}", '{"reason": 3}'])
def test_a_damaged_failure_is_one_line(folder: Path, tmp_path: Path, content: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = paths.model(fixtures.BENCHMARK, 50, *PLACES[0]) / "failed.json"
    (copy / path).write_text(content)
    result = run_stage(copy, "evaluate", "50", "difficulty_net")
    assert (result.code, result.stderr.count("\n")) == (2, 1)
    assert f"{path}: damaged" in result.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in what MLflow stands on
def test_mlflow_has_a_failed_run_with_the_reason_once(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first, second = (run_stage(copy, "track") for _ in range(2))
    assert first.code == second.code == 0, first.stderr + second.stderr
    assert " 0 new, " in second.stdout
    from mlflow.tracking import MlflowClient

    from longtail.pipeline.tracking import store_uri

    client = MlflowClient(store_uri(copy / "mlruns"))
    experiment = client.get_experiment_by_name(f"{fixtures.BENCHMARK} · Table 1")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert {run.data.tags["cell"] for run in failed} == FAILED
    assert len(failed) == 2
    assert {run.data.tags["reason"] for run in failed} == {REASON}
    assert not any(run.data.metrics for run in failed)
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}
