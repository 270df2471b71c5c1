"""The real DVC pipeline, in a copy of the repository, at a tiny schedule."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pipeline_stages import touched
from tests.support.stage_runs import ROOT, environment

IMBALANCES = {
    "digits-lt": [10],
    "cifar100-lt": [100],
    "cifar10-lt": [100],
    "imagenet-lt": [256],
    "places-lt": [996],
    "own": [1],
}
TINY = {"imbalances": IMBALANCES, "seeds": [1], "schedule": {"fraction": 0.12, "precision": "float32"}}

# a few of the rows: the others would only take time
FOLLOWS_LAMBDA = ["difficulty_net", "difficulty_net_absolute"]
DIFFICULTY = [*FOLLOWS_LAMBDA, "difficulty_net_lambda_0.3"]
VARIANTS = ["cross_entropy", *DIFFICULTY]
RETRAINED = ["cross_entropy", "difficulty_net"]
HEADS = ["crt", "las", "lws"]
LAST = {"tabulate", "plot", "page", "track"}


class Copy:
    """A copy of the repository in which DVC runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = environment(
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            HOME=str(path.parent / "home"),
            NO_COLOR="1",
            PYTHONPATH="",  # the copy's own code
        )

    def run(self, *words: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            words, cwd=self.path, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def dvc(self, *words: str) -> str:
        """What a DVC command prints."""
        return self.run(sys.executable, "-m", "dvc", *words)

    def set(self, **changed: object) -> None:
        """Change values of params.yaml."""
        path = self.path / "params.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}), encoding="utf-8")

    def prune(self) -> None:
        """Leave only `VARIANTS` in the tables, with `HEADS` on `RETRAINED`, and only the root's pipeline."""
        for folder in ("paper", "own"):
            shutil.rmtree(self.path / folder)
        path = self.path / "longtail" / "config" / "tables.yaml"
        layouts = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = [row for table in layouts["tables"] for group in table["groups"] for row in group["rows"]]
        for row in rows + [curve for figure in layouts["figures"] for curve in figure["curves"]]:
            head = row.get("head")
            kept = row["variant"] in VARIANTS
            if not kept or (head and (head not in HEADS or row["variant"] not in RETRAINED)):
                row["variant"] = "not yet"
                row.pop("head", None)
        path.write_text(yaml.safe_dump(layouts, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def plans(self, params: dict[str, dict[str, Any]], folder: Path) -> None:
        """Write the plan files that `stages.plan` makes of each of `params` below `folder`/<name>."""
        for name, content in params.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        self.run(sys.executable, "-c", PLAN_EACH, *(str(folder / name) for name in params))

    def touched(self, graph: str) -> set[str]:
        """The stages that would run after `plan`: the changed ones, and what hangs on them."""
        self.run(sys.executable, "-m", "stages.plan")
        status = json.loads(self.dvc("status", "--json"))
        return closure({stage.removeprefix("dvc.yaml:") for stage in status} - {"plan"}, graph)

    def runs_in_mlflow(self) -> dict[str, dict[str, str]]:
        """The tags of every run of the tables, by run."""
        database = sqlite3.connect(f"{(self.path / 'mlruns' / 'mlflow.db').as_uri()}?mode=ro", uri=True)
        try:
            runs: dict[str, dict[str, str]] = {}
            for run, key, value in database.execute("SELECT run_uuid, key, value FROM tags"):
                runs.setdefault(run, {})[key] = value
        finally:
            database.close()
        return {run: tags for run, tags in runs.items() if "cell" in tags}

    def cells_in_mlflow(self) -> set[tuple[str, str]]:
        """(cell, fingerprint) of every run of the tables that is one training, and no mean over seeds."""
        runs = [tags for tags in self.runs_in_mlflow().values() if "vs_reference" not in tags]
        return {(tags["cell"], tags["fingerprint"]) for tags in runs}


PLAN_EACH = """
import os, sys
from longtail.pipeline.plan import plan
for folder in sys.argv[1:]:
    os.chdir(folder)
    plan("digits-lt")
"""


def ran(output: str) -> set[str]:
    """The stages that DVC ran."""
    return set(re.findall(r"^Running stage '(.+)':", output, flags=re.MULTILINE))


def trained(imbalance: int = 10) -> set[str]:
    """The stages that make and judge cells, with all that hangs on them."""
    return {f"{name}@{imbalance}" for name in ("represent", "retrain", "evaluate")} | LAST


def plans(variants: list[str], retrained: list[str]) -> set[str]:
    """The plans of these bundles."""
    return {f"represent/{name}.json" for name in variants} | {
        f"retrain/{name}-heads.json" for name in retrained
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository at a tiny schedule, after one `dvc repro`, committed."""
    made = Copy(tmp_path_factory.mktemp("pipeline") / "repository")
    (made.path.parent / "home").mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = made.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    made.set(**TINY)
    made.prune()
    for words in (["init", "-q"], ["config", "user.name", "A"], ["config", "user.email", "a@b.c"]):
        made.run("git", *words)
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "tiny")
    made.first = made.dvc("repro")  # type: ignore[attr-defined]
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "results")
    return made


def test_one_command_makes_every_table_figure_and_run(copy: Copy) -> None:
    data = {"plan", "prepare", "subsample@10", "extract_meta@10"}
    assert ran(copy.first) == data | trained()  # type: ignore[attr-defined]
    reports = copy.path / "reports" / "digits-lt"
    for number in range(1, 6):
        assert (reports / f"table{number}.md").stat().st_size > 500
        assert (reports / f"table{number}.csv").stat().st_size > 500
    for number in range(1, 5):
        for ending in ("svg", "png", "csv"):
            assert (reports / f"figure{number}.{ending}").stat().st_size > 100
    assert 100_000 < (reports / "index.html").stat().st_size < 5_000_000
    cells = {cell for cell, _ in copy.cells_in_mlflow()}
    assert {f"imb10-{variant}-seed1" for variant in VARIANTS} <= cells
    assert {f"imb10-{variant}-{head}-seed1" for variant in RETRAINED for head in HEADS} <= cells


def test_a_second_repro_runs_no_stage(copy: Copy) -> None:
    start = time.monotonic()
    output = copy.dvc("repro")
    assert ran(output) == set()
    assert "up to date" in output
    assert time.monotonic() - start < 30  # a no-op that trains would take minutes


AFFECTED = {
    "lambda": ({"lambda": 0.6}, trained()),
    "seeds": ({"seeds": [2]}, trained()),
    "variants": ({"variants": ["cross_entropy"]}, trained()),
    "schedule.fraction": ({"schedule": {"fraction": 0.05}}, trained()),
    "schedule.length": ({"schedule": {**TINY["schedule"], "length": 300}}, trained()),
    "schedule.unit": ({"schedule": {**TINY["schedule"], "unit": "epochs"}}, trained()),
    "schedule.batch_size": ({"schedule": {**TINY["schedule"], "batch_size": 32}}, trained()),
    "schedule.precision": ({"schedule": {"fraction": 0.12, "precision": "bf16"}}, trained()),
    "shot_groups": ({"shot_groups": "mislas"}, {"evaluate@10"} | LAST),
    "data_seed": ({"data_seed": 1}, {"prepare", "subsample@10", "extract_meta@10"} | trained()),
    "imbalances.digits-lt": (
        {"imbalances": {**IMBALANCES, "digits-lt": [20]}},
        {"subsample@20", "extract_meta@20"} | trained(20),
    ),
    **{
        f"imbalances.{name}": ({"imbalances": {**IMBALANCES, name: [50]}}, set())
        for name in IMBALANCES
        if name != "digits-lt"
    },
    "backbone": ({"backbone": "frozen"}, set()),
    "own.image_size": ({"own": {"image_size": 16, "test_share": 0.2}}, set()),
    "own.test_share": ({"own": {"image_size": 32, "test_share": 0.3}}, set()),
    "own.iterations": ({"own": {"image_size": 32, "test_share": 0.2, "iterations": 500}}, set()),
    "own.augment": ({"own": {"image_size": 32, "test_share": 0.2, "augment": "shift"}}, set()),
    "meta_per_class": ({"meta_per_class": 5}, {"subsample@10", "extract_meta@10"} | trained()),
    "duplicates": ({"duplicates": "keep"}, {"prepare", "subsample@10", "extract_meta@10"} | trained()),
    "split": ({"split": "file_order"}, {"prepare", "subsample@10", "extract_meta@10"} | trained()),
    "difficulty_net.meta_gradient": ({"difficulty_net": {"meta_gradient": "detached"}}, trained()),
    "difficulty_net.difficulty": ({"difficulty_net": {"difficulty": "absolute"}}, trained()),
    "difficulty_net.driver_loss": ({"difficulty_net": {"driver_loss": False}}, trained()),
    "difficulty_net.driver_reduction": ({"difficulty_net": {"driver_reduction": "sum"}}, trained()),
}


LISTS = {f"{stage}/bundles.json" for stage in ("represent", "retrain")}
DECIDED = {
    "lambda": plans(FOLLOWS_LAMBDA, ["difficulty_net"]),
    "difficulty_net.meta_gradient": plans(DIFFICULTY, ["difficulty_net"]),
    "difficulty_net.difficulty": plans(
        [name for name in DIFFICULTY if name != "difficulty_net_absolute"], ["difficulty_net"]
    ),
    "difficulty_net.driver_loss": plans(DIFFICULTY, ["difficulty_net"]),
    "difficulty_net.driver_reduction": plans(DIFFICULTY, ["difficulty_net"]),
    "variants": plans(DIFFICULTY, ["difficulty_net"]) | LISTS,
    "imbalances.digits-lt": plans(VARIANTS, RETRAINED) | LISTS,
    **{
        name: plans(VARIANTS, RETRAINED)
        for name in ("seeds", *(name for name in AFFECTED if "schedule" in name))
    },
}
"""The plans that each parameter changes; the others change none."""


THROUGH_DVC = ("lambda", "data_seed", "imbalances.digits-lt", "imbalances.own", "shot_groups")
"""Parameters that change a plan, a stage's own `params`, the stages there are, nothing, and the last."""


def test_every_parameter_touches_its_own_stages_and_no_others(copy: Copy, tmp_path: Path) -> None:
    """By plan files and dvc.yaml, for every parameter; the next test has DVC's word that this is its own."""
    original = yaml.safe_load((copy.path / "params.yaml").read_text())
    changed = {name: {**original, **change} for name, (change, _) in AFFECTED.items()}
    copy.plans({"as it is": original, **changed}, tmp_path)
    pipeline = yaml.safe_load((copy.path / "dvc.yaml").read_text(encoding="utf-8"))
    for name, (_, expected) in AFFECTED.items():
        found = touched(tmp_path / "as it is", tmp_path / name, pipeline, (original, changed[name]))
        assert found == expected, name
        assert changed_plans(tmp_path / "as it is", tmp_path / name) == DECIDED.get(name, set()), name
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    leaves = {
        f"{key}.{inner}" if isinstance(value, dict) else key
        for key, value in parameters.items()
        for inner in (value if isinstance(value, dict) else [key])
    }
    assert leaves == set(AFFECTED), "a parameter without an expectation here"


def test_dvc_touches_the_same_stages(copy: Copy) -> None:
    path, graph = copy.path / "params.yaml", copy.dvc("dag", "--dot")
    original = path.read_text()
    for name in THROUGH_DVC:
        change, expected = AFFECTED[name]
        path.write_text(original)
        copy.set(**change)
        edges = copy.dvc("dag", "--dot") if name.startswith("imbalances") else graph
        assert copy.touched(edges) == expected, name
    path.write_text(original)
    assert copy.touched(graph) == set()


def test_code_touches_the_stages_that_it_decides_and_a_comment_none(copy: Copy) -> None:
    graph = copy.dvc("dag", "--dot")
    file = copy.path / "longtail" / "methods" / "las.py"
    original = file.read_text()
    heads = trained() - {"represent@10"}
    for text, expected in ((f"{original}\n# more\n", set()), (f"{original}\nMORE = 1\n", heads)):
        file.write_text(text)
        assert copy.touched(graph) == expected
    file.write_text(original)
    assert copy.touched(graph) == set()


def changed_plans(before: Path, after: Path) -> set[str]:
    """The plans of bundles that differ, or are in one of two folders alone."""
    contents: list[dict[Path, str]] = [
        {
            path.relative_to(folder): path.read_text()
            for path in (folder / "data/digits-lt/plan").glob("imb*/re*/*.json")
        }
        for folder in (before, after)
    ]
    old, new = contents
    return {"/".join(path.parts[-2:]) for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def closure(stages: set[str], dot: str) -> set[str]:
    """`stages` and all that depend on them, by the edges of `dvc dag --dot`."""
    edges = re.findall(r'"([^"]+)" -> "([^"]+)"', dot)
    found, grown = set(stages), True
    while grown:
        more = {after for before, after in edges if before in found} - found
        grown = bool(more)
        found |= more
    return found


def test_experiments_rerun_what_uses_lambda_and_come_into_mlflow(copy: Copy) -> None:
    before = copy.cells_in_mlflow()
    expected = {"plan"} | trained()

    # in a folder of its own: everything that uses lambda is trained, and MLflow is the repository's
    output = copy.dvc("exp", "run", "--temp", "--name", "elsewhere", "-S", "lambda=0.7")
    assert ran(output) == expected
    new = {cell for cell, _ in copy.cells_in_mlflow() - before}
    heads = {f"imb10-difficulty_net-{head}-seed1" for head in HEADS}
    assert new == heads | {f"imb10-{name}-seed1" for name in FOLLOWS_LAMBDA}

    # the difference shows in metrics, parameters and curves
    difference = json.loads(copy.dvc("metrics", "diff", "--all", "--json", "HEAD", "elsewhere"))
    row = difference["reports/digits-lt/metrics.json"]["imb10.difficulty_net.all"]
    assert row["diff"] == pytest.approx(row["new"] - row["old"])
    shown = copy.dvc("exp", "show", "--csv", "--only-changed")
    assert "elsewhere" in shown
    assert "0.7" in shown
    copy.dvc("plots", "diff", "--out", str(copy.path.parent / "plots"), "HEAD", "elsewhere")
    assert "train_loss" in (copy.path.parent / "plots" / "index.html").read_text(encoding="utf-8")

    # queued, with MLflow's database gone: these trainings are finished, and `track` makes all of the planned
    # runs anew, in the repository
    shutil.rmtree(copy.path / "mlruns")
    copy.dvc("exp", "run", "--queue", "--name", "queued", "-S", "lambda=0.7")
    copy.dvc("queue", "start")
    cells, found, deadline = {cell for cell, _ in before}, set(), time.monotonic() + 240
    while (
        found != cells and time.monotonic() < deadline
    ):  # each word of DVC costs a second, this look nothing
        with suppress(sqlite3.OperationalError):  # it is not there, or not whole
            found = {cell for cell, _ in copy.cells_in_mlflow()}
        time.sleep(0.2)
    while re.search(r"Queued|Running", copy.dvc("queue", "status")) and time.monotonic() < deadline:
        time.sleep(1)
    assert "Success" in copy.dvc("queue", "status")
    assert {cell for cell, _ in copy.cells_in_mlflow()} == cells
