"""`reproduce` as a person runs it, on the digits at a schedule of a few iterations."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import report_fixtures as fixtures

ROOT = Path(__file__).parent.parent
PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50, 10]}\nseeds: [1, 2]\nschedule: {fraction: 0.04}\n"
WORDS = ("--benchmark", "digits-lt", "--device", "cpu", "--jobs", "1", "--imbalance", "50")
SOME = (*WORDS, "--only", "cross_entropy-las", "--only", "difficulty_net")


def reproduce(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.reproduce", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped by a budget of nothing after the first of the trainings, then gone on with."""
    folder = tmp_path_factory.mktemp("programme")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "first").write_text("\n".join(lines(reproduce(folder, *SOME, "--budget-minutes", "0"))))
    (folder / "between").write_text("\n".join(lines(reproduce(folder, *SOME, "--dry-run"))))
    table = folder / "reports/digits-lt/table1.csv"
    shutil.copy(table, folder / "first.csv")
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


def test_with_no_time_left_one_cell_is_trained_and_tabulated(folder: Path) -> None:
    said = (folder / "first").read_text()
    assert "digits-lt: 6 trainings, 6 to do; 0.0 min left" in said
    assert "reproduce    imb50-cross_entropy-seed1: 0.0 min, meta accuracy " in said
    assert "done: 1 of 8 cells finished" in said
    assert said.endswith("the same command goes on")
    found = statuses(folder / "first.csv")
    assert (found["Cross-entropy"], found["Ours"], found["LAS"]) == ("1", "not run", "not run")


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
    assert readme.startswith("# digits-lt: 8 of 192 planned cells\n")
    assert (
        f"`python -m stages.reproduce {' '.join(SOME)} --budget-minutes 9 --results results/some`" in readme
    )
    assert "Schedules of 0.04 of full length" in readme
    assert "| imb50-cross_entropy-las-seed2" in readme
    before = (kept / "reports/digits-lt/table1.md").read_bytes()
    assert before == (folder / "reports/digits-lt/table1.md").read_bytes()
    (kept / "reports/digits-lt/table1.md").unlink()
    made = fixtures.run_stage(folder, "tabulate", "--partial", "--results", "results/some")
    assert made.code == 0, made.stderr
    assert (kept / "reports/digits-lt/table1.md").read_bytes() == before


def test_tables_and_figures_say_what_is_missing(folder: Path) -> None:
    text = (folder / "reports/digits-lt/table1.md").read_text()
    assert "- 6 of 144 cells are there, the others are not run so far" in text
    assert "schedules shortened to 0.04 of full length" in text
    none = (folder / "reports/digits-lt/table2.md").read_text()
    assert "not run" in none
    said = (folder / "second").read_text()
    assert "figure 1 not drawn: 28 cells not run, imb50-balanced_softmax-seed1 first" in said
    assert {path.name for path in (folder / "reports/digits-lt").glob("figure*.svg")} == {"figure3.svg"}


def test_other_settings_are_another_programme(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("results"))
    (copy / "params.yaml").write_text(PARAMS.replace("0.3", "0.6"))
    said = lines(reproduce(copy, *WORDS, "--only", "difficulty_net", "--seed", "1"))
    assert any("1 trainings, 1 to do; no limit" in line for line in said)
    found = statuses(copy / "reports/digits-lt/table1.csv")
    assert found["Ours"] == "1"  # seed 2 is there, but with another lambda
    report = json.loads((copy / "reports/digits-lt/cells/imb50/difficulty_net/seed2.json").read_text())
    assert report["settings"]["lambda"] == 0.3
    assert found["LAS"] == "2"  # lambda does not touch it


def test_a_mistake_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    for words, complaint in (
        (("--only", "crossentropy"), "did you mean 'cross_entropy'?"),
        (("--device", "tpu"), "--device tpu: not a device"),
        (("--imbalance", "20"), "--imbalance 20: not planned"),
    ):
        done = reproduce(tmp_path, "--benchmark", "digits-lt", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert complaint in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
