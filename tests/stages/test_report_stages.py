import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtail.pipeline import paths
from longtail.planning.plans import BundlePlan
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import Result, python, run_stage

MODEL = paths.model(fixtures.BENCHMARK, 50, "difficulty_net", "seed1")
REPORT = paths.cell_report(fixtures.BENCHMARK, 50, "difficulty_net", "seed1")
CELL = "imb50-difficulty_net-seed1"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small study, evaluated."""
    plans = fixtures.build(tmp_path, fixtures.params(imbalances=(50,), seeds=(1, 2)), ("difficulty_net",))
    fixtures.evaluate(tmp_path, plans)
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    reports = sorted((folder / "reports").rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in reports if path.is_file()}


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_table(path: Path, name: str, values) -> None:
    table = pq.read_table(path)
    column = pa.array(list(values), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


def check_refusal(result: Result, *words: str) -> None:
    lines = result.stderr.splitlines()
    assert (result.code, len(lines)) == (2, 1), result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_stages_turn_predictions_into_reports_tables_and_figures(folder):
    before = digests(folder)
    assert run_stage(folder, "evaluate", "50", "difficulty_net").code == 0
    assert digests(folder) == before  # the same predictions, the same bytes
    tabulated = run_stage(folder, "tabulate")
    assert tabulated.code == 0, tabulated.stderr
    assert "imb 50 All" in tabulated.stdout
    plotted = run_stage(folder, "plot")
    assert plotted.code == 0, plotted.stderr
    made = {path.name for path in (folder / "reports" / fixtures.BENCHMARK).iterdir()}
    figures = {f"figure{n}.{ending}" for n in range(1, 5) for ending in ("svg", "png", "csv")}
    tables = {f"table{n}.{ending}" for n in range(1, 6) for ending in ("md", "csv")}
    claims = {"claims.md", "claims.csv"}
    assert made == figures | tables | claims | {"cells", "metrics.json", "curves.csv"}
    for result in (tabulated, plotted):
        assert result.stdout.splitlines()[-1].split()[1] == "done:"


def test_a_report_holds_what_the_predictions_say(folder):
    report = json.loads((folder / REPORT).read_text())
    table = pq.read_table(folder / MODEL / "predictions.parquet").to_pydict()
    for scores, column in ((report, "logits"), (report["selected"], "logits_selected")):
        right = np.argmax(table[column], axis=1) == np.array(table["label"])
        assert scores["accuracy"]["all"] == pytest.approx(100 * right.mean())
        assert scores["accuracy"]["few"] == pytest.approx(100 * right[np.array(table["label"]) >= 5].mean())
        assert scores["per_class"] == pytest.approx(100 * right.reshape(10, 50).mean(axis=1))
    assert report["groups"]["members"] == {"many": [0, 1], "medium": [2, 3, 4], "few": [5, 6, 7, 8, 9]}
    assert (report["cell"], report["settings"]["lambda"]) == (CELL, 0.3)
    assert "seconds" not in report  # equal trainings give equal reports


def test_a_bundle_that_is_not_planned_is_refused(folder):
    before = digests(folder)
    check_refusal(run_stage(folder, "evaluate", "50", "difficulty_ned"), "'difficulty_net'?")
    assert digests(folder) == before


def test_another_shot_convention_needs_no_training(folder):
    # a class with exactly 20 images is medium by kang, few by mislas
    for member in ("seed1", "seed2"):
        model = paths.model(fixtures.BENCHMARK, 50, "difficulty_net", member)
        change_json(folder / model / "cell.json", counts=[114, 74, 48, 31, 20, 13, 8, 5, 3, 2])
    plan = folder / paths.evaluation_plan(fixtures.BENCHMARK, 50)
    groups = json.loads(plan.read_text())["groups"]
    for convention, few in (("kang", 5), ("mislas", 6)):
        change_json(plan, groups={**groups, "convention": convention})
        assert run_stage(folder, "evaluate", "50", "difficulty_net").code == 0
        report = json.loads((folder / REPORT).read_text())
        assert len(report["groups"]["members"]["few"]) == few
    check_refusal(run_stage(folder, "tabulate"), "shot groups by 'mislas'", "`dvc repro`")


def truncate(folder: Path) -> None:
    path = folder / MODEL / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def label_out_of_range(folder: Path) -> None:
    change_table(folder / MODEL / "predictions.parquet", "label", np.repeat(np.arange(1, 11), 50))


def short_logits(folder: Path) -> None:
    rows = [[0.0] * 10] * 499 + [[0.0] * 9]
    change_table(folder / MODEL / "predictions.parquet", "logits", rows)


def diverged(folder: Path) -> None:
    rows = [[0.0] * 10] * 499 + [[float("nan")] * 10]
    change_table(folder / MODEL / "predictions.parquet", "logits_selected", rows)


def no_logits(folder: Path) -> None:
    path = folder / MODEL / "predictions.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["logits"]), path)


BREAKS = {
    "no predictions": (
        lambda f: (f / MODEL / "predictions.parquet").unlink(),
        "predictions.parquet: no such",
    ),
    "truncated": (truncate, "predictions.parquet: not parquet, or truncated"),
    "label out of range": (label_out_of_range, "label 10 in row 450 is not in 0..9"),
    "short logits": (short_logits, "9 logits for an image"),
    "diverged": (diverged, "row 499 are not finite"),
    "no column": (no_logits, "hash string, logits_selected list"),
    "no cell": (lambda f: (f / MODEL / "cell.json").unlink(), "cell.json: no such cell"),
    "damaged cell": (lambda f: (f / MODEL / "cell.json").write_text("{"), "damaged"),
    "other cell": (
        lambda f: change_json(f / MODEL / "cell.json", cell="imb50-other-seed1"),
        "imb50-other-seed1",
    ),
    "other training": (lambda f: change_json(f / MODEL / "cell.json", fingerprint="ab" * 32), "of training"),
    "no counts": (
        lambda f: (f / MODEL / "cell.json").write_text(json.dumps({"cell": CELL})),
        "fingerprint: missing",
    ),
    "text for iterations": (lambda f: change_json(f / MODEL / "cell.json", iterations="x"), "iterations"),
    "no plan": (
        lambda f: (f / paths.evaluation_plan(fixtures.BENCHMARK, 50)).unlink(),
        "imb50/evaluation.json: no such plan",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_evaluate_refuses_bad_input_in_one_line_and_damages_nothing(folder, name):
    damage, complaint = BREAKS[name]
    damage(folder)
    before = digests(folder)
    check_refusal(run_stage(folder, "evaluate", "50", "difficulty_net"), complaint)
    assert digests(folder) == before


REPORT_BREAKS = {
    "missing": (lambda f: (f / REPORT).unlink(), f"{REPORT}: no such report"),
    "damaged": (lambda f: (f / REPORT).write_text("{"), f"{REPORT}: damaged, not JSON"),
    "field lost": (lambda f: (f / REPORT).write_text("{}"), "missing"),
    "stale": (
        lambda f: change_json(f / MODEL / "cell.json", fingerprint="ab" * 32),
        f"{REPORT}: of another training than the model of that name",
    ),
    "another cell's": (lambda f: change_json(f / REPORT, seed=2), "not the planned one"),
    "other images": (lambda f: change_json(f / REPORT, counts=[9] * 10), "2 different training sets"),
    "other settings": (
        lambda f: change_json(f / REPORT, recipe="ab" * 32),
        f"{REPORT}: of other settings or code than planned",
    ),
}


@pytest.mark.parametrize("name", REPORT_BREAKS)
def test_tabulate_and_plot_refuse_reports_that_do_not_fit(folder, name):
    assert run_stage(folder, "tabulate").code == 0
    damage, complaint = REPORT_BREAKS[name]
    damage(folder)
    before = digests(folder)
    check_refusal(run_stage(folder, "tabulate"), complaint, "`dvc repro`")
    if name == "stale":
        check_refusal(run_stage(folder, "plot"), complaint)
    assert digests(folder) == before


def test_all_reports_that_do_not_fit_are_counted_and_the_first_ten_named(tmp_path):
    chosen = fixtures.params(imbalances=(50,), seeds=tuple(range(1, 13)))
    plans = fixtures.build(tmp_path, chosen, ("difficulty_net",))
    fixtures.evaluate(tmp_path, plans)
    places = [paths.cell_report(fixtures.BENCHMARK, 50, "difficulty_net", f"seed{n}") for n in range(1, 13)]
    models = [paths.model(fixtures.BENCHMARK, 50, "difficulty_net", f"seed{n}") for n in range(1, 13)]
    for count, more in ((10, ": of "), (12, ", ... (12 in all): of ")):
        for place in places[:count]:
            change_json(tmp_path / place, recipe="ab" * 32)
        result = run_stage(tmp_path, "tabulate")
        check_refusal(result, f"{', '.join(map(str, places[:10]))}{more}other settings or code than planned")
    for n, (place, model) in enumerate(zip(places, models, strict=True)):
        recipe = json.loads((tmp_path / model / "cell.json").read_text())["recipe"]
        manifests = {"train": "9" * 64} if n in (2, 7) else {"train": "0" * 64}
        change_json(tmp_path / place, recipe=recipe, manifests=manifests)
    result = run_stage(tmp_path, "tabulate")
    check_refusal(result, "reports of imb50-difficulty_net-seed3, imb50-difficulty_net-seed8: 2 different")


@pytest.mark.parametrize("damage", ["missing", "truncated", "another's", "changed since its report"])
def test_plot_refuses_a_bad_history_and_draws_nothing(folder, damage):
    path = folder / MODEL / "history.parquet"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "changed since its report":  # and still of this training
        table = pq.read_table(path)
        pq.write_table(table.set_column(0, "epoch", table["epoch"]), path, compression="none")
    else:
        table = pq.read_table(path)
        metadata = {"longtail": json.dumps({"fingerprint": "cd" * 32, "cell": CELL})}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    before = digests(folder)
    result = run_stage(folder, "plot")
    check_refusal(result, str(MODEL / "history.parquet"))
    assert damage != "changed since its report" or damage in result.stderr
    assert digests(folder) == before


def test_curves_are_means_over_seeds(folder):
    assert run_stage(folder, "plot").code == 0
    text = (folder / paths.report(fixtures.BENCHMARK, "curves.csv")).read_text().splitlines()
    assert text[0] == "cell,variant,head,imbalance,iteration,train_loss,entropy,meta_accuracy"
    assert len(text) == 1 + fixtures.EPOCHS + 1
    last = text[-1].split(",")
    assert last[:5] == ["imb50-difficulty_net", "difficulty_net", "", "50", "300"]
    histories = [
        pq.read_table(folder / plan / "history.parquet").to_pydict()
        for plan in (paths.model(fixtures.BENCHMARK, 50, "difficulty_net", f"seed{n}") for n in (1, 2))
    ]
    for value, name in zip(last[5:], ("train_loss", "entropy", "meta_accuracy"), strict=True):
        assert float(value) == pytest.approx(np.mean([history[name][-1] for history in histories]))


@pytest.mark.parametrize("stage", ["evaluate 50 difficulty_net", "tabulate", "plot"])
def test_stages_import_nothing_heavy(folder, stage):
    name, *arguments = stage.split()
    unwanted = {"torch", "mlflow", "dvc", "matplotlib.pyplot"} | ({"pandas"} if name == "evaluate" else set())
    program = (
        f"import sys; sys.argv = ['x', *{arguments}]\n"
        f"from stages import {name}\nfrom longtail.pipeline import console\n"
        f"try: console.run({name}.main)\n"
        f"finally: print('imported:', sorted({unwanted} & set(sys.modules)))"
    )
    result = python(folder, "-c", program)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "imported: []"


def test_fixture_plans_are_those_of_the_pipeline(folder):
    plan = BundlePlan.model_validate_json(
        (folder / paths.plan(fixtures.BENCHMARK, 50, "difficulty_net")).read_text()
    )
    assert [cell.name for cell in plan.cells()] == [CELL, "imb50-difficulty_net-seed2"]
