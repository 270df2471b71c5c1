"""What the pipeline costs apart from training: `tabulate`, and `dvc repro` when nothing has changed.

    python -m benchmarks.pipeline_cost

In a scratch copy of this repository with the real dvc.yaml. One cell is trained, for a few iterations, and
used for all others: models and reports differ only in name. `dvc commit` records them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.machine import described
from longtail.files import write_json
from longtail.pipeline import paths
from longtail.planning.plans import Cell, read_tables_plan
from longtail.reporting.evaluation import report_on

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "pipeline_cost.md"
BENCHMARK, VARIANT = "digits-lt", "difficulty_net"
SIZES: tuple[tuple[list[int], list[int]], ...] = (
    ([50, 10], [1]),
    ([50, 10], [1, 2, 3]),
    ([100, 50, 20, 10], [1, 2, 3]),
)
"""Imbalances and seeds: some hundred, three hundred and six hundred cells."""
TARGET = "no-op `dvc repro` under 12 s at 300 cells"


@dataclass(frozen=True)
class Cost:
    """Seconds of each round: on the clock, and of the processor."""

    cells: int
    stages: int
    tabulate: list[tuple[float, float]]
    no_op: list[tuple[float, float]]


class Scratch:
    """A copy of the repository, with results at the place of every planned cell."""

    def __init__(self, folder: Path, imbalances: list[int], seeds: list[int]) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
        self.environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        git = ("git", "-C", str(REPOSITORY), "ls-files", "-z")
        listed = self.run(*git, "--cached", "--others", "--exclude-standard")
        for name in filter(None, listed.split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
        path = folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        params |= {"seeds": seeds, "schedule": {"fraction": 0.04}}
        params["imbalances"][BENCHMARK] = imbalances
        path.write_text(yaml.safe_dump(params), encoding="utf-8")
        self.run("git", "init", "-q")
        self.stage("plan")
        self.stage("prepare")
        for imbalance in imbalances:
            self.stage("subsample", str(imbalance))
            self.stage("extract_meta", str(imbalance))
        self.stage("represent", str(imbalances[0]), VARIANT, "--seed", str(seeds[0]))
        self.cells = self.fill(imbalances[0], seeds[0])
        self.stage("tabulate")
        self.stage("plot")
        self.run(sys.executable, "-m", "dvc", "commit", "-f", "-q", "dvc.yaml")

    def run(self, *words: str) -> str:
        """What a command prints. Raises RuntimeError if it fails."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def stage(self, name: str, *words: str) -> None:
        """Run a stage."""
        self.run(sys.executable, "-m", f"stages.{name}", *words)

    def fill(self, imbalance: int, seed: int) -> int:
        """Put the trained cell at every planned place; how many there are."""
        with paths.within(self.folder):
            plan = read_tables_plan(paths.tables_plan(BENCHMARK))
            trained = paths.model(BENCHMARK, imbalance, VARIANT, f"seed{seed}")
            template = Path("template")
            trained.rename(template)
            facts = json.loads((template / "cell.json").read_text(encoding="utf-8"))
            cell = Cell(BENCHMARK, imbalance, VARIANT, VARIANT, None, seed)
            scores = report_on(template, cell, plan.groups).model_dump(mode="json")
            placed = 0
            for bundle in plan.bundles:
                for member in bundle.members:
                    place = (BENCHMARK, bundle.imbalance, bundle.bundle, member.member)
                    names: dict[str, Any] = {"cell": member.cell(bundle), "imbalance": bundle.imbalance}
                    names |= {name: getattr(member, name) for name in ("head", "seed", "recipe")}
                    names["variant"] = bundle.variant
                    shutil.copytree(template, paths.model(*place))
                    write_json(paths.model(*place) / "cell.json", {**facts, **names})
                    write_json(paths.cell_report(*place), {**scores, **names})
                    placed += 1
            shutil.rmtree(template)
        return placed

    def seconds(self, *words: str) -> tuple[float, float]:
        """How long a command takes from the start of Python on, and how much processor time."""
        before, start = os.times(), time.perf_counter()
        self.run(sys.executable, "-m", *words)
        wall, after = time.perf_counter() - start, os.times()
        user, system = (after[i] - before[i] for i in (2, 3))  # of child processes
        return wall, user + system


def measure(imbalances: list[int], seeds: list[int], rounds: int) -> Cost:
    """Both commands in turns, in a new scratch copy."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(Path(folder), imbalances, seeds)
        said = scratch.run(sys.executable, "-m", "dvc", "repro")
        if "Running stage" in said:
            raise RuntimeError(f"dvc repro still had something to do:\n{said}")
        stages = len(yaml.safe_load((scratch.folder / "dvc.lock").read_text(encoding="utf-8"))["stages"])
        taken: dict[str, list[tuple[float, float]]] = {"tabulate": [], "no_op": []}
        for _ in range(rounds):
            taken["no_op"].append(scratch.seconds("dvc", "repro"))
            taken["tabulate"].append(scratch.seconds("stages.tabulate"))
        return Cost(scratch.cells, stages, **taken)


def report(costs: list[Cost]) -> str:
    """The table, in Markdown."""
    lines = [
        "# Cost of the pipeline beside the trainings",
        "",
        f"`python -m benchmarks.pipeline_cost`: {described()}.",
        "",
        f"Seconds from start to end of a command, medians of {len(costs[0].no_op)} rounds in turns; in "
        "brackets seconds of processor time, which other work on the machine changes less. The cells are "
        "copies of one under the names of all.",
        "",
        "| cells | stages | `python -m stages.tabulate` | `dvc repro`, nothing changed |",
        "| ----: | -----: | -------------------------: | ---------------------------: |",
    ]
    for cost in costs:
        cells = [
            "{:.1f} ({:.1f})".format(*(median(part) for part in zip(*taken, strict=True)))
            for taken in (cost.tabulate, cost.no_op)
        ]
        lines.append(f"| {cost.cells} | {cost.stages} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, "", f"Wanted: {TARGET}."]) + "\n"


def main() -> None:
    """Print the table and write it to `benchmarks/results/pipeline_cost.md`."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="of each command (default 3)")
    rounds = options.parse_args().rounds
    text = report([measure(*size, rounds) for size in SIZES])
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
