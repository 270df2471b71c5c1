"""`reproduce` as a person runs it, on the digits at a schedule of a few iterations."""

import csv
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import read_params
from longtail.pipeline import datasets, paths
from longtail.pipeline.finished import is_sound
from longtail.pipeline.inputs import read_all
from longtail.pipeline.reproduce import train_all
from longtail.planning.planner import plan_bundles, plan_shot_groups
from longtail.running.programme import Budget, Step, programme, select_cells
from tests.support.stage_runs import Result, run_stage, start_python

PARAMS = (
    "lambda: 0.3\nimbalances: {digits-lt: [50, 10]}\nseeds: [1, 2]\n"
    "schedule: {fraction: 0.04, batch_size: 32}\n"
)
WORDS = ("--benchmark", "digits-lt", "--device", "cpu", "--jobs", "1", "--imbalance", "50")
SOME = (*WORDS, "--only", "cross_entropy-las", "--only", "difficulty_net")


def reproduce(folder: Path, *words: str) -> Result:
    return run_stage(folder, "reproduce", *words)


def lines(done: Result) -> list[str]:
    assert done.code == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell, then no time at all, then the rest."""
    folder = tmp_path_factory.mktemp("programme")
    (folder / "params.yaml").write_text(PARAMS)
    first = reproduce(folder, *WORDS, "--only", "cross_entropy", "--seed", "1")
    (folder / "first").write_text("\n".join(lines(first)))
    shutil.copy(folder / "reports/digits-lt/table1.csv", folder / "first.csv")
    (folder / "none").write_text("\n".join(lines(reproduce(folder, *SOME, "--budget-minutes", "0"))))
    (folder / "between").write_text("\n".join(lines(reproduce(folder, *SOME, "--dry-run"))))
    goes_on = reproduce(folder, *SOME, "--budget-minutes", "9", "--results", "results/some")
    (folder / "second").write_text("\n".join(lines(goes_on)))
    return folder


def statuses(path: Path) -> dict[str, str]:
    """By row, at imbalance 50: why it has no number, or how many seeds."""
    with path.open() as file:
        return {
            row["row"]: row["status"] or row["seeds"]
            for row in csv.DictReader(file)
            if (row["imbalance"], row["split"], row["weights"]) == ("50", "all", "last")
        }


def test_with_no_time_left_nothing_is_trained_and_what_is_there_is_tabulated(folder: Path) -> None:
    said = (folder / "first").read_text()
    assert "digits-lt: 1 training, 1 to do; no limit" in said
    assert "reproduce    imb50-cross_entropy-seed1: 0.0 min, meta accuracy " in said
    assert "done: 1 of 1 cells finished" in said
    found = statuses(folder / "first.csv")
    assert (found["Cross-entropy"], found["Ours"], found["LAS"]) == ("1", "not run", "not run")
    none = (folder / "none").read_text()
    assert "digits-lt: 6 trainings, 5 to do; 0.0 min left" in none
    assert "min, meta accuracy" not in none
    assert "done: 1 of 8 cells finished" in none
    assert none.endswith("re-run the same command to resume")


def test_started_again_it_trains_what_is_missing(folder: Path) -> None:
    said = (folder / "second").read_text()
    assert "digits-lt: 6 trainings, 5 to do; " in said
    assert "imb50-cross_entropy-seed1:" not in said
    assert "6 of 6 trainings; " in said
    assert "done: 8 of 8 cells finished" in said
    assert len(list((folder / "work").glob("*/finished"))) == 6
    found = statuses(folder / "reports/digits-lt/table1.csv")
    assert (found["Cross-entropy"], found["Ours"], found["LAS"], found["cRT"]) == ("2", "2", "2", "not run")
    assert statuses(folder / "reports/digits-lt/table5.csv")["Ours (lambda=0.3)"] == "2"  # the same training


def test_the_dry_run_says_what_is_finished_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    between = [line.split() for line in (folder / "between").read_text().splitlines()]
    assert [words[1] for words in between[:6]] == ["finished", *["open"] * 5]
    assert between[1][4:] == ["imb50-difficulty_net-seed1", "=", "imb50-difficulty_net_lambda_0.3-seed1"]
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert lines(reproduce(tmp_path, *SOME, "--dry-run"))[-1].endswith(
        "0 of 6 trainings are finished; nothing was changed"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_results_to_keep_have_no_weights_and_make_the_same_tables(folder: Path) -> None:
    kept = folder / "results/some"
    names = {path.name for path in kept.rglob("*") if path.is_file()}
    assert {"README.md", "params.yaml", "history.parquet", "timing.json", "table1.md"} <= names
    assert not {"weights.safetensors", "predictions.parquet"} & names
    readme = (kept / "README.md").read_text()
    assert readme.startswith("# digits-lt: 8 of 228 planned cells\n")
    assert f"`longtail reproduce {' '.join(SOME)} --budget-minutes 9 --results results/some`" in readme
    assert "Schedules of 0.04 of full length, networks trained in batches of 32." in readme
    assert "| imb50-cross_entropy-las-seed2" in readme
    before = (kept / "reports/digits-lt/table1.md").read_bytes()
    assert before == (folder / "reports/digits-lt/table1.md").read_bytes()
    (kept / "reports/digits-lt/table1.md").unlink()
    made = run_stage(folder, "tabulate", "--partial", "--results", "results/some")
    assert made.code == 0, made.stderr
    assert (kept / "reports/digits-lt/table1.md").read_bytes() == before


def test_tables_and_figures_say_what_is_missing(folder: Path) -> None:
    text = (folder / "reports/digits-lt/table1.md").read_text()
    assert "- 6 of 180 cells are there, the others are not run yet" in text
    assert "schedules shortened to 0.04 of full length" in text
    none = (folder / "reports/digits-lt/table2.md").read_text()
    assert "not run" in none
    said = (folder / "second").read_text()
    assert "figure 1 not drawn: 28 cells not run, imb50-balanced_softmax-seed1 first" in said
    assert {path.name for path in (folder / "reports/digits-lt").glob("figure*.svg")} == {"figure3.svg"}


def test_a_cell_that_trains_when_the_time_is_over_is_saved_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("0.04", "1.0"))
    monkeypatch.chdir(tmp_path)
    params = read_params()
    datasets.make(DIGITS_LT, params, [50])
    plans = plan_bundles(DIGITS_LT, params)
    chosen = select_cells(plans, ["difficulty_net"], [50], [1])
    (step,) = programme(plans, chosen, {50: datasets.fingerprints("digits-lt", 50)})
    inputs, groups = read_all(plans, [50]), plan_shot_groups(DIGITS_LT, params)

    def left_after_a_start() -> float:
        begun = (paths.work() / step.fingerprint).is_dir()
        return 60 * 9 if begun else 0.0  # the time is over once a worker has begun

    saved = train_all([step], [step], inputs, groups, "cpu", 1, Budget(9, left_after_a_start))
    assert not is_sound(step.fingerprint)
    assert [step.name for step in saved] == ["imb50-difficulty_net-seed1"]
    assert paths.checkpoint(step.fingerprint).is_file()
    assert not train_all([step], [step], inputs, groups, "cpu", 1, Budget(9))
    assert is_sound(step.fingerprint)


def test_a_signal_saves_what_trains_and_leaves(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("0.04", "1.0"))
    words = (*WORDS, "--only", "difficulty_net", "--seed", "1")
    with start_python(tmp_path, "-m", "longtail", "reproduce", *words) as process:
        while not list(tmp_path.glob("work/*")):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert re.search(r"stopped: by SIGTERM at iteration \d+ of 150", said), said
    assert lines(reproduce(tmp_path, *words))[-1].startswith("reproduce    done: 2 of 2 cells finished")


def test_a_failed_training_is_told_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    words = (*WORDS, "--only", "cross_entropy-las", "--seed", "1")
    plans = lines(reproduce(tmp_path, *words, "--budget-minutes", "0"))
    assert plans[-1].endswith("re-run the same command to resume")
    marks = {step.name: step.fingerprint for step in planned(tmp_path)}
    folder = tmp_path / "work" / marks["imb50-cross_entropy-seed1"] / "finished"
    folder.mkdir(parents=True)
    failure = {"fingerprint": folder.parent.name, "reason": "not finite", "iteration": 3, "network": "x"}
    (folder / "failed.json").write_text(json.dumps(failure))
    for _ in range(2):
        done = reproduce(tmp_path, *words)
        said = lines(done)
        assert "reproduce    imb50-cross_entropy-seed1 FAILED: not finite" in said
        assert "reproduce    imb50-cross_entropy-las-seed1 FAILED: its features failed: not finite" in said
        assert said[-1].endswith("2 FAILED")
    text = (tmp_path / "reports/digits-lt/table1.md").read_text()
    assert "failed (1 of 2)" in text


def planned(folder: Path) -> list[Step]:
    """The programme of cross-entropy and LAS with seed 1, as `reproduce` makes it in `folder`."""
    with paths.within(folder):
        params = read_params()
        plans = plan_bundles(DIGITS_LT, params)
        chosen = select_cells(plans, ["cross_entropy-las"], [50], [1])
        return programme(plans, chosen, {50: datasets.fingerprints("digits-lt", 50)})


def test_other_settings_are_another_programme(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("results"))
    (copy / "params.yaml").write_text(PARAMS.replace("0.3", "0.6"))
    said = lines(reproduce(copy, *WORDS, "--only", "difficulty_net", "--seed", "1"))
    assert any("1 training, 1 to do; no limit" in line for line in said)
    found = statuses(copy / "reports/digits-lt/table1.csv")
    assert found["Ours"] == "1"  # seed 2 is there, but with another lambda
    report = json.loads((copy / "reports/digits-lt/cells/imb50/difficulty_net/seed2.json").read_text())
    assert report["settings"]["lambda"] == 0.3
    assert found["LAS"] == "2"  # lambda does not touch it


def test_a_mistake_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    for words, complaint in (
        (("--only", "crossentropy"), "did you mean 'cross_entropy'?"),
        (("--device", "tpu"), "'--device': 'tpu' is not one of"),
        (("--imbalance", "20"), "--imbalance 20: not planned"),
    ):
        done = reproduce(tmp_path, "--benchmark", "digits-lt", *words)
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert complaint in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_slices_share_no_training_and_the_run_after_them_makes_the_tables(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("seeds: [1, 2]", "seeds: [1]"))
    chosen = (*WORDS, "--only", "cross_entropy-las", "--only", "focal")
    first, second = (lines(reproduce(tmp_path, *chosen, "--slice", part)) for part in ("1/2", "2/2"))
    assert "reproduce    digits-lt: 2 trainings, 2 to do; no limit" in first
    assert first[-1] == (
        "reproduce    done: slice 1/2: 2 of 2 trainings finished; "
        "after all slices, run the command without --slice for tables and figures"
    )
    assert "done: slice 2/2: 1 of 1 training finished; " in second[-1]
    assert not (tmp_path / "reports/digits-lt/table1.md").exists()
    assert len(list(tmp_path.glob("work/*/finished"))) == 3
    assert list(tmp_path.glob("work/*/lock")) == []
    whole = lines(reproduce(tmp_path, *chosen))
    assert any("digits-lt: 3 trainings, 0 to do; " in line for line in whole)
    assert "done: 3 of 3 cells finished" in whole[-1]
    assert (tmp_path / "reports/digits-lt/table1.md").is_file()


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_a_slice_that_is_none_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    done = reproduce(tmp_path, *WORDS, "--slice", part)
    assert done.code == 2
    assert done.stderr == (f"error: --slice {part}: not a slice; give K/N with K from 1 to N, such as 3/16\n")
