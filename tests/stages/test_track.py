"""MLflow holds what the reports say: once, whole, and again after it was deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.layouts import read_layouts
from longtail.errors import InputError
from longtail.pipeline import paths, tracking
from longtail.pipeline.mlflow_internals import VIEW_TAG
from longtail.pipeline.track import table_views
from longtail.pipeline.tracking import Tracker
from longtail.planning.planner import plan_bundles, plan_tables
from longtail.reporting.tables import fill
from longtail.training.histories import read_history
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import run_stage, start_python

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BUNDLES = ("difficulty_net", "difficulty_net-heads", "cross_entropy")
HEADS = ["cRT", "LWS", "LAS", "tau-norm", "logit adjustment", "tau-norm + logit adjustment", "MaxNorm"]
HEADS += ["difficulty-adjusted logits (this project's)"]
ROWS = {"1": ["Ours", *(f"Ours + {head}" for head in HEADS), "Cross-entropy"], "4": ["#9 Ours"], "5": []}
REPORTS = f"{fixtures.BENCHMARK} · Tables and figures"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two imbalances, two seeds, with tables and figures; in a folder with a difficult name."""
    folder = tmp_path_factory.mktemp("a repository, 100 % éclair, a%2Fb? #1")
    plans = fixtures.build(folder, fixtures.params(seeds=(1, 2)), BUNDLES)
    fixtures.evaluate(folder, plans)
    for table in range(1, 6):
        for ending in ("md", "csv"):
            (folder / paths.report(fixtures.BENCHMARK, f"table{table}.{ending}")).write_text(f"table {table}")
    for figure in range(1, 5):
        for ending in ("svg", "png", "csv"):
            (folder / paths.report(fixtures.BENCHMARK, f"figure{figure}.{ending}")).write_text(f"{figure}")
    (folder / "params.yaml").touch()
    for name in ("metrics.json", "curves.csv", "claims.md", "claims.csv", "index.html"):
        (folder / paths.report(fixtures.BENCHMARK, name)).write_text("{}")
    return folder


@pytest.fixture
def repository(reports: Path, tmp_path: Path) -> Path:
    """The reports, and nothing tracked."""
    return Path(shutil.copytree(reports, tmp_path / "copy", ignore=shutil.ignore_patterns("mlruns")))


@pytest.fixture(scope="module")
def two_passes(reports: Path) -> list[tuple[int | None, str, str]]:
    """Exit code, output and errors of two processes that track at once, where there is no database yet."""
    both = [start_python(reports, "-m", "stages.track") for _ in range(2)]
    spoken = [process.communicate() for process in both]
    return [(process.returncode, *words) for process, words in zip(both, spoken, strict=True)]


@pytest.fixture(scope="module")
def tracked(reports: Path, two_passes: list[tuple[int | None, str, str]]) -> Path:
    """The reports, tracked."""
    assert two_passes
    return reports


def client(folder: Path) -> MlflowClient:
    """MLflow's own view of what was tracked."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking.store_uri(folder / "mlruns"))


def runs(folder: Path) -> dict[str, list[Run]]:
    """All runs by experiment."""
    mlflow = client(folder)
    experiments = {found.name: found.experiment_id for found in mlflow.search_experiments()}
    return {name: list(mlflow.search_runs([number])) for name, number in experiments.items()}


def content(folder: Path) -> set[tuple[object, ...]]:
    """What identifies runs to a person: experiment, name, parameters, metrics."""
    return {
        (
            name,
            run.info.run_name,
            *(json.dumps(part, sort_keys=True) for part in (run.data.params, run.data.metrics)),
        )
        for name, found in runs(folder).items()
        for run in found
    }


def named(folder: Path, table: int, name: str) -> Run:
    """The one run of that name."""
    (run,) = [
        run for run in runs(folder)[f"{fixtures.BENCHMARK} · Table {table}"] if run.info.run_name == name
    ]
    return run


def test_two_processes_on_no_database_log_every_run_once(
    two_passes: list[tuple[int | None, str, str]], tracked: Path
) -> None:
    assert [(code, errors) for code, _, errors in two_passes] == [(0, ""), (0, "")]
    total = sum(len(found) for found in runs(tracked).values())
    closing = sorted(output.splitlines()[-1] for _, output, _ in two_passes)
    assert f" 0 new, {total} already there" in closing[0]
    assert f" {total} new, 0 already there" in closing[1]


def test_every_table_has_a_run_for_each_row_and_imbalance_of_every_seed_and_of_the_mean(
    tracked: Path,
) -> None:
    found = runs(tracked)
    tables = {f"{fixtures.BENCHMARK} · Table {number}" for number in range(1, 6)}
    assert set(found) == {"Default", REPORTS, *tables}
    for number, rows in ROWS.items():
        expected = [
            f"{row} · imbalance {imbalance} · {seeds}"
            for row in rows
            for imbalance in (50, 10)
            for seeds in ("seed 1", "seed 2", "mean of 2 seeds")
        ]
        names = [run.info.run_name for run in found[f"{fixtures.BENCHMARK} · Table {number}"]]
        assert sorted(map(str, names)) == sorted(expected)
    assert found["Default"] == []
    assert all(run.info.status == "FINISHED" for group in found.values() for run in group)


def test_a_run_has_the_parameters_tags_times_and_accuracies_of_its_cell(tracked: Path) -> None:
    run = named(tracked, 1, "Ours + LAS · imbalance 50 · seed 2")
    report = json.loads(
        (tracked / paths.cell_report(fixtures.BENCHMARK, 50, "difficulty_net-heads", "las-seed2")).read_text()
    )
    expected = {"method": "difficulty_net", "head": "las", "imbalance": "50", "seed": "2", "lambda": "0.3"}
    assert expected.items() <= run.data.params.items()
    assert run.data.params["training.schedule.kind"] == "cosine"
    assert {f"settings.{name}" for name in report["settings"]} <= set(run.data.params)
    tags = {"cell": report["cell"], "fingerprint": report["fingerprint"], "table": "1", "row": "Ours + LAS"}
    assert tags.items() <= run.data.tags.items()
    for split, value in report["accuracy"].items():
        assert run.data.metrics[f"acc_{split}"] == pytest.approx(value, abs=1e-4)
    assert run.data.metrics["ece"] == pytest.approx(report["ece"], abs=1e-4)
    assert run.info.end_time == run.info.start_time + 1500
    assert "lambda" not in named(tracked, 1, "Cross-entropy · imbalance 10 · seed 1").data.params


def test_a_mean_run_is_that_of_its_seeds(tracked: Path) -> None:
    mean = named(tracked, 1, "Ours + LAS · imbalance 50 · mean of 2 seeds")
    seeds = [named(tracked, 1, f"Ours + LAS · imbalance 50 · seed {seed}") for seed in (1, 2)]
    for name in ("acc_few", "ece", "acc_all"):
        values = [seed.data.metrics[name] for seed in seeds]
        assert mean.data.metrics[name] == pytest.approx(sum(values) / 2, abs=1e-3)
    half = 12.7062047362 * abs(values[0] - values[1]) / 2  # the quantile of t with one degree of freedom
    assert mean.data.metrics["ci95_all"] == pytest.approx(half, abs=1e-2)
    params = {**seeds[0].data.params, "seeds": "1, 2"}
    assert mean.data.params == {name: value for name, value in params.items() if name != "seed"}
    histories = [client(tracked).get_metric_history(run.info.run_id, "train_loss") for run in (mean, *seeds)]
    assert len(histories[0]) == fixtures.EPOCHS
    for of_mean, *of_seeds in zip(*histories, strict=True):
        assert {of_mean.step} == {point.step for point in of_seeds}
        assert of_mean.value == pytest.approx(sum(point.value for point in of_seeds) / 2)


def test_each_imbalance_has_a_view_of_its_means_best_first(tracked: Path) -> None:
    """The search of the view, asked of MLflow itself."""
    mlflow = client(tracked)
    experiment = mlflow.get_experiment_by_name(f"{fixtures.BENCHMARK} · Table 1")
    assert experiment is not None
    states = {key: json.loads(value) for key, value in experiment.tags.items() if key.startswith(VIEW_TAG)}
    names = {"results-imbalance-50": "50", "results-imbalance-10": "10", "seeds": None}
    assert {key.removeprefix(VIEW_TAG) for key in states} == set(names)
    for key, imbalance in names.items():
        state = states[VIEW_TAG + key]
        assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`acc_all`", False)
        found = mlflow.search_runs([experiment.experiment_id], state["searchFilter"])
        if imbalance is None:
            assert len(found) == len(ROWS["1"]) * 2 * 2
            assert not any("mean" in str(run.info.run_name) for run in found)
        else:
            expected = {f"{row} · imbalance {imbalance} · mean of 2 seeds" for row in ROWS["1"]}
            assert {run.info.run_name for run in found} == expected
            assert len(found) == len(expected)
        assert key in experiment.tags["mlflow.note.content"]


def test_each_network_has_a_view_where_the_columns_are_networks() -> None:
    benchmark = DIGITS_LT.model_copy(update={"networks": ("digits_resnet", "resnet32")})
    plan = plan_tables(benchmark, fixtures.params(), plan_bundles(benchmark, fixtures.params()))
    table = next(layout for layout in read_layouts().tables if layout.columns == "networks")
    *networks, seeds = table_views(fill(table, plan, []))
    assert [(view.name, view.key) for view in networks] == [
        ("digits_resnet", "results-digits_resnet"),
        ("resnet32", "results-resnet32"),
    ]
    assert networks[1].search == (
        "params.imbalance = '50' and params.network = 'resnet32' and params.seeds = '1, 2, 3'"
    )
    assert seeds.key == "seeds"


def test_tags_and_names_of_old_runs_become_current(repository: Path) -> None:
    """As after a change of other rows: it moves Holm's correction, and with it the mark on a difference."""
    assert run_stage(repository, "track").code == 0
    before = content(repository)
    run = named(repository, 1, "Ours · imbalance 50 · mean of 2 seeds")
    assert "±" in run.data.tags["vs_reference"]
    client(repository).set_tag(run.info.run_id, "vs_reference", "old")
    client(repository).update_run(run.info.run_id, name="old")
    assert " 1 renamed or tagged, " in run_stage(repository, "track").stdout
    again = named(repository, 1, "Ours · imbalance 50 · mean of 2 seeds")
    assert again.data.tags["vs_reference"] == run.data.tags["vs_reference"]
    assert content(repository) == before


def test_names_of_accuracies_sort_before_all_other_metrics(tracked: Path) -> None:
    metrics = sorted(named(tracked, 1, "Ours · imbalance 50 · seed 1").data.metrics)
    assert metrics[:4] == ["acc_all", "acc_few", "acc_many", "acc_medium"]
    assert {"train_loss", "meta_accuracy", "entropy", "lr"} <= set(metrics[4:])


def test_curves_are_the_history_by_iteration_without_what_is_no_number(tracked: Path) -> None:
    member = tracked / paths.model(fixtures.BENCHMARK, 50, "difficulty_net", "seed1")
    history = read_history(member / "history.parquet")
    run = named(tracked, 1, "Ours · imbalance 50 · seed 1")
    for name, first in (("train_loss", 1), ("meta_accuracy", 0), ("entropy", 0)):  # no loss before training
        points = client(tracked).get_metric_history(run.info.run_id, name)
        steps, values = history["iteration"].to_pylist()[first:], history[name].to_pylist()[first:]
        assert [(point.step, point.value) for point in points] == list(zip(steps, values, strict=True))
        assert points[-1].timestamp == run.info.end_time
    assert "driver_loss" not in run.data.metrics  # NaN throughout


def test_artifacts_are_where_mlflow_finds_them(tracked: Path) -> None:
    run = named(tracked, 1, "Ours + LAS · imbalance 50 · seed 2")
    assert [file.path for file in client(tracked).list_artifacts(run.info.run_id)] == ["per_class.csv"]
    text = Path(client(tracked).download_artifacts(run.info.run_id, "per_class.csv")).read_text()
    assert text.splitlines()[0] == "class,name,training_images,shot_group,accuracy,accuracy_selected"
    assert text.splitlines()[1].startswith("0,0,114,many,")
    assert len(text.splitlines()) == 1 + fixtures.CLASSES
    (report,) = runs(tracked)[REPORTS]
    files = {file.path for file in client(tracked).list_artifacts(report.info.run_id)}
    assert len(files) == 5 * 2 + 4 * 3 + 5
    assert {
        "table1.md",
        "table5.csv",
        "figure1.svg",
        "figure4.png",
        "metrics.json",
        "claims.md",
        "index.html",
    } <= files
    assert report.data.params["lambda"] == "0.3"


@pytest.mark.parametrize("length", [8000, 8001])
def test_the_page_of_all_reports_shows_the_first_table_or_says_where_it_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    from longtail.pipeline.records import reports_record
    from longtail.planning.plans import read_tables_plan

    monkeypatch.chdir(repository)
    text = "# Table 1\n" + "x" * (length - 10)
    paths.report(fixtures.BENCHMARK, "table1.md").write_text(text)
    plan = read_tables_plan(paths.tables_plan(fixtures.BENCHMARK))
    note = reports_record(plan, read_layouts(), []).tags["mlflow.note.content"]
    if length > 8000:
        assert note.startswith("# Table 1\n\n")
        assert "`table1.md` among the artifacts" in note
    else:
        assert note == text


def test_the_run_of_all_reports_says_what_is_not_the_benchmarks_own_schedule(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longtail.pipeline.records import reports_record
    from longtail.planning.plans import read_tables_plan

    monkeypatch.chdir(repository)
    plan = read_tables_plan(paths.tables_plan(fixtures.BENCHMARK))
    usual = reports_record(plan, read_layouts(), []).params
    changed = plan.model_copy(update={"length": 180, "unit": "epochs", "batch_size": 512})
    found = reports_record(changed, read_layouts(), []).params
    assert found == {**usual, "schedule_length": "180 epochs", "batch_size": "512"} != usual


def test_nothing_is_written_but_mlruns(tracked: Path) -> None:
    assert sorted(entry.name for entry in tracked.iterdir()) == [
        *("data", "mlruns", "models", "params.yaml", "reports")
    ]
    for experiment in client(tracked).search_experiments():
        assert experiment.artifact_location.startswith((tracked / "mlruns" / "artifacts").as_uri())


def test_a_second_pass_adds_nothing(tracked: Path) -> None:
    def run_ids() -> list[str]:
        return sorted(run.info.run_id for group in runs(tracked).values() for run in group)

    before = run_ids()
    done = run_stage(tracked, "track")
    assert f" 0 new, {len(before)} already there" in done.stdout
    assert run_ids() == before


def test_a_new_database_of_the_same_reports_has_the_same_runs_and_is_the_owners(
    repository: Path, tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path / "owner"
    monkeypatch.setenv(
        "DVC_ROOT", str(owner)
    )  # as `dvc exp run --temp` sets it in its copy of the repository
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-owl")
    assert run_stage(repository, "track").code == 0
    assert not (repository / "mlruns").exists()
    assert content(owner) == content(tracked)
    assert named(owner, 1, "Ours · imbalance 50 · seed 1").data.tags["dvc_experiment"] == "puffy-owl"


def test_another_training_stands_beside_the_old_one_and_so_do_other_tables(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(reports / "reports", tmp_path / "reports")
    for lambda_ in (0.3, 0.6):
        chosen = fixtures.params(imbalances=(50,), seeds=(1,)).model_copy(update={"lambda_": lambda_})
        with monkeypatch.context() as patch:
            patch.setattr(fixtures, "fingerprint", lambda cell, value=lambda_: f"{value}-{cell.name}")
            fixtures.evaluate(tmp_path, fixtures.build(tmp_path, chosen, BUNDLES[:1]))
        (tmp_path / paths.report(fixtures.BENCHMARK, "table1.csv")).write_text(f"numbers of {lambda_}")
        assert run_stage(tmp_path, "track").code == 0
    for experiment in (f"{fixtures.BENCHMARK} · Table 1", f"{fixtures.BENCHMARK} · Table 4", REPORTS):
        lambdas = [run.data.params["lambda"] for run in runs(tmp_path)[experiment]]
        assert set(lambdas) == {"0.3", "0.6"}
        assert lambdas.count("0.3") == lambdas.count("0.6")


def test_a_missing_report_history_or_table_is_one_line_and_touches_no_database(repository: Path) -> None:
    damaged = (
        paths.cell_report(fixtures.BENCHMARK, 10, "cross_entropy", "seed2"),
        paths.model(fixtures.BENCHMARK, 50, "difficulty_net", "seed1") / "history.parquet",
        paths.report(fixtures.BENCHMARK, "figure3.svg"),
    )
    for path in damaged:
        kept = (repository / path).read_bytes()
        (repository / path).unlink()
        done = run_stage(repository, "track")
        (repository / path).write_bytes(kept)
        assert done.code == 2
        assert len(done.stderr.splitlines()) == 1
        assert str(path) in done.stderr
    assert not (repository / "mlruns").exists()


def test_a_broken_or_foreign_database_is_named(tracked: Path, tmp_path: Path) -> None:
    tracking.database(tmp_path).write_text("no database at all, not even nearly")
    with pytest.raises(InputError, match=r"mlflow\.db: file is not a database; move"):
        Tracker(tmp_path)
    shutil.copy(tracking.database(tracked / "mlruns"), tmp_path)
    with pytest.raises(InputError, match=r"its artifacts are in .*, not here; move"):
        Tracker(tmp_path)
