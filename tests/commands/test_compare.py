"""`longtail compare`: two rows, or two revisions of DVC, on one screen."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from longtail.config.benchmarks import DIGITS_LT
from longtail.pipeline import paths
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import environment, python, run_stage

BUNDLES = ("cross_entropy", "difficulty_net", "difficulty_net-heads")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study, evaluated."""
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=BUNDLES))
    return folder


def screen(folder: Path, *words: str) -> list[str]:
    """The lines that the command prints; none is longer than a terminal's."""
    found = run_stage(folder, "compare", *words)
    assert found.code == 0, found.stderr
    lines = found.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 50
    return lines


def refusal(folder: Path, *words: str) -> str:
    found = run_stage(folder, "compare", *words)
    assert (found.code, len(found.stderr.splitlines())) == (2, 1), found.stderr
    return found.stderr


def accuracies(folder: Path, variant: str, split: str) -> list[float]:
    files = (folder / paths.cell_report(fixtures.BENCHMARK, 50, variant, f"seed{n}") for n in (1, 2, 3))
    return [json.loads(path.read_text())["accuracy"][split] for path in files]


def test_two_rows_are_compared_by_split_by_image_and_by_class(reports: Path) -> None:
    lines = screen(reports, "cross_entropy", "Ours")
    assert lines[:3] == [
        "A  Cross-entropy (cross_entropy)",
        "B  Ours (difficulty_net)",
        "   digits-lt, imbalance 50, digits_resnet, 3 seeds (1, 2, 3)",
    ]
    few = next(line for line in lines if line.startswith("Few"))
    old, new = (accuracies(reports, name, "few") for name in ("cross_entropy", "difficulty_net"))
    test = stats.ttest_rel(new, old)
    half_width = np.diff(test.confidence_interval(0.95)).item() / 2
    assert f"{np.mean(new) - np.mean(old):+.1f} ± {half_width:.1f}" in few
    assert few.split()[-1] in ("better", "worse", "undecided")
    text = " ".join(lines)
    assert re.search(r"McNemar's exact test over the test images: p [=<] [\d.]+ \(seed 1\), p", text)
    classes = lines[next(i for i, line in enumerate(lines) if line.startswith("Classes")) + 1 :]
    sizes = [abs(float(re.findall(r"[+-]\d+\.\d", line)[0])) for line in classes]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)


def test_the_other_way_round_the_signs_change(reports: Path) -> None:
    signs = []
    for names in (("ours", "crosS-entropy"), ("cross_entropy", "OURS")):
        few = next(line for line in screen(reports, *names) if line.startswith("Few"))
        signs.append(float(re.findall(r"[+-]\d+\.\d", few)[0]))
    assert signs[0] == -signs[1] != 0


def test_a_head_a_label_and_another_imbalance(reports: Path) -> None:
    by_name = screen(reports, "difficulty_net", "difficulty_net+crt", "--imbalance", "10")
    assert by_name[1:] == screen(reports, "#9 Ours", "Ours + cRT", "--imbalance", "10")[1:]
    assert by_name[1] == "B  Ours + cRT (difficulty_net+crt)"
    assert "imbalance 10" in by_name[2]


def test_every_network_of_a_benchmark_can_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, rows = ("digits_resnet", "resnet32"), ("cross_entropy", "difficulty_net")
    monkeypatch.setattr(fixtures, "DIGITS_LT", DIGITS_LT.model_copy(update={"networks": networks}))
    bundles = tuple(f"{network}-{row}" for network in networks for row in rows)
    fixtures.evaluate(tmp_path, fixtures.build(tmp_path, fixtures.params(imbalances=(50,)), bundles))
    found = []
    for network, options in zip(networks, [(), ("--network", "resnet32")], strict=True):
        lines = screen(tmp_path, *rows, *options)
        assert lines[2] == f"   digits-lt, imbalance 50, {network}, 3 seeds (1, 2, 3)"
        (few,) = (line.split() for line in lines if line.startswith("Few"))
        means = [np.mean(accuracies(tmp_path, f"{network}-{row}", "few")) for row in rows]
        assert [few[1], few[4]] == [f"{mean:.1f}" for mean in means]
        found.append(means)
    assert found[0] != found[1]


def test_one_seed_decides_nothing_and_old_reports_have_no_images(tmp_path: Path) -> None:
    chosen = fixtures.params(imbalances=(50,), seeds=(4,))
    fixtures.evaluate(tmp_path, fixtures.build(tmp_path, chosen, ("cross_entropy", "difficulty_net")))
    text = "\n".join(screen(tmp_path, "ours", "cross_entropy"))
    assert "One training each: no interval, and nothing is decided." in text
    assert text.count("undecided") == 4
    assert "McNemar's exact test" in text
    path = tmp_path / paths.cell_report(fixtures.BENCHMARK, 50, "cross_entropy", "seed4")
    path.write_text(json.dumps({**json.loads(path.read_text()), "correct": None}))
    assert "No McNemar's test" in "\n".join(screen(tmp_path, "ours", "cross_entropy"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("ours", "difficulty_nat"),
            "'difficulty_nat': neither a row nor a revision; did you mean 'difficulty_net'?",
        ),
        (("ours", "xyzzy"), "'xyzzy': neither a row nor a revision; name a row as in the tables"),
        (("ours", "workspace"), "'workspace': a revision; 'ours' is a row: give two rows, or two revisions"),
        (("ours", "focal"), "'Focal Loss' (focal) at imbalance 50, digits_resnet: no finished training of"),
        (("ours", "focal", "--imbalance", "20"), "--imbalance 20: not planned; choose from 50, 10"),
        (
            ("ours", "focal", "--network", "resnet10"),
            "--network resnet10: not planned; choose from digits_resnet",
        ),
        (("ours", "focal", "--benchmark", "cifar"), "tables.json: no such plan"),
        (("workspace", "workspace", "--results", "there"), "--results there: has no revisions"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    reports: Path, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in refusal(reports, *words)


@pytest.fixture(scope="module")
def repository(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study under git and DVC, as two commits and an experiment; in the workspace Ours has changed."""
    folder = tmp_path_factory.mktemp("repository") / "clone"
    shutil.copytree(reports, folder, ignore=shutil.ignore_patterns("models"))

    def run(*words: str) -> None:
        more = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            words, cwd=folder, env=environment(**more), text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    dvc = (sys.executable, "-m", "dvc")
    outputs = (str(paths.tables_plan(fixtures.BENCHMARK)), str(paths.report(fixtures.BENCHMARK, "cells")))
    run("git", "init", "-q")
    run(*dvc, "init", "-q")
    run("git", "commit", "-qm", "empty")
    run(*dvc, "add", "-q", *outputs)
    run("git", "add", "-A", ".dvc", "data", "reports")
    run("git", "commit", "-qm", "results")
    for seed in (1, 2, 3):
        path = folder / paths.cell_report(fixtures.BENCHMARK, 50, "difficulty_net", f"seed{seed}")
        found = json.loads(path.read_text())
        accuracy = {split: value - 2 - seed / 100 for split, value in found["accuracy"].items()}
        path.unlink()  # DVC may have linked it to its cache
        path.write_text(json.dumps({**found, "fingerprint": "9" * 64, "accuracy": accuracy, "correct": None}))
    run(*dvc, "add", "-q", outputs[1])
    run(*dvc, "exp", "save", "-q", "-n", "lower-ours")
    return folder


@pytest.mark.parametrize("new", ["workspace", "lower-ours"])
def test_what_changed_since_a_revision_is_shown_row_by_row(repository: Path, new: str) -> None:
    done = python(repository, "-m", "longtail", "compare", "HEAD", new)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == ["A  HEAD", f"B  {new}"]
    assert "1 of 10 rows changed." in lines
    row = next(line for line in lines if line.startswith("Ours"))
    assert re.findall(r"[+-]\d+\.\d±\d+\.\d ▼", row) == ["-2.0±0.0 ▼"] * 4


def test_the_same_revision_has_no_change(repository: Path) -> None:
    done = python(repository, "-m", "longtail", "compare", "HEAD", "HEAD")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 of 10 rows changed."


def test_a_revision_without_reports_and_a_misspelt_one_are_named(repository: Path) -> None:
    done = python(repository, "-m", "longtail", "compare", "HEAD~1", "workspace")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "HEAD~1: no reports of digits-lt there" in done.stderr
    done = python(repository, "-m", "longtail", "compare", "HEAD", "lower-our")
    assert "did you mean 'lower-ours'?" in done.stderr
