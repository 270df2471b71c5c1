"""How long a user waits: the first `dvc repro`, one without changes, and experiments with another lambda.

    python -m benchmarks.waits                       # the last commit
    python -m benchmarks.waits HEAD~5 HEAD           # two, in turns
    python -m benchmarks.waits HEAD~5 HEAD --seeds 1 2 3

Each round makes a fresh clone of each revision in a temporary folder, and runs each command in all of them in
turns: a machine's speed can change from minute to minute. lambda = 0.6 is a row of Table 5, so it has fewer
trainings than the other two. The packages are those of this Python, imported once before the clock starts;
`make repro` on a fresh clone also installs and compiles them.
Results of the revisions are compared, too: the weights of every cell, and all tables, claims and curves.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.machine import described

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "waits.md"
COMMANDS = {
    "first `dvc repro`": ["repro"],
    "`dvc repro`, nothing changed": ["repro"],
    **{
        f"`dvc exp run -S lambda={value}`": ["exp", "run", "-S", f"lambda={value}"]
        for value in (0.6, 0.61, 0.62)
    },
}
"""Arguments of dvc, in their order."""
LARGE = "dvc.cli, matplotlib.pyplot, mlflow, pandas, scipy.stats, sklearn.datasets, torch, torch._dynamo"
"""Modules imported once before the clock starts, so that no revision compiles them for another."""
IDENTITY = {"GIT_AUTHOR_NAME": "waits", "GIT_AUTHOR_EMAIL": "waits@localhost"}
IDENTITY |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in IDENTITY.items()}


Digests = tuple[str, str]
"""Of weights and of tables."""


@dataclass(frozen=True)
class Wait:
    """One command: seconds on the clock, processor seconds of all its processes, stages that ran."""

    wall: float
    processor: float
    stages: int


def run(folder: Path, *words: str) -> str:
    """What a command prints, with the clone's own code. Raises RuntimeError if it fails."""
    # PYTHONDONTWRITEBYTECODE would compile every module each time
    ours = ("DVC_", "LONGTAIL_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment |= IDENTITY | {"PATH": path, "PYTHONPATH": str(folder)}
    if words[-1] == "repro":
        environment["LONGTAIL_AHEAD"] = "1"  # `make repro` of earlier revisions set it
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def waited(folder: Path, *words: str) -> Wait:
    """How long `dvc` takes with these words."""
    before, start = os.times(), time.perf_counter()
    said = run(folder, sys.executable, "-m", "dvc", *words)
    wall, after = time.perf_counter() - start, os.times()
    processor = sum(after[i] - before[i] for i in (2, 3))  # of child processes
    return Wait(wall, processor, said.count("Running stage"))


def weights_digest(folder: Path) -> str:
    """Of the tensors of all weights, wherever in `models/` they are.

    Files as a whole name the training's fingerprint, which changes with its code.
    """
    contents = (path.read_bytes() for path in (folder / "models").rglob("*.safetensors"))
    # what follows the header and its length
    tensors = (content[8 + int.from_bytes(content[:8], "little") :] for content in contents)
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(own).digest() for own in tensors))).hexdigest()


def tables_digest(folder: Path) -> str:
    """Of the tables, claims and curves."""
    found = hashlib.sha256()
    for path in sorted((folder / "reports" / "digits-lt").glob("*.[cm][sd]*")):  # csv, md
        found.update(path.read_bytes())
    return found.hexdigest()


def set_seeds(folder: Path, seeds: list[int]) -> None:
    """Write `seeds` into the clone's params.yaml, and commit."""
    path = folder / "params.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = (f"seeds: {seeds}\n" if line.startswith("seeds:") else line for line in lines)
    path.write_text("".join(changed), encoding="utf-8")
    run(folder, "git", "commit", "--quiet", "--all", "--allow-empty", "--message", "Seeds")


def prepare(folder: Path, revision: str, seeds: list[int]) -> None:
    """Make `folder` a fresh clone."""
    run(REPOSITORY, "git", "clone", "--quiet", str(REPOSITORY), str(folder))
    run(folder, "git", "checkout", "--quiet", "--detach", revision)
    if seeds:
        set_seeds(folder, seeds)


def measure(revisions: Sequence[str], seeds: list[int]) -> dict[str, tuple[list[Wait], list[Digests]]]:
    """All commands in a fresh clone of each, in turns, and the digests of the results after each."""
    found: dict[str, tuple[list[Wait], list[Digests]]] = {name: ([], []) for name in revisions}
    with tempfile.TemporaryDirectory() as folder:
        for name in revisions:
            prepare(Path(folder) / name, name, seeds)
        for command, words in COMMANDS.items():
            for name, (waits, digests) in found.items():
                clone = Path(folder) / name
                waits.append(waited(clone, *words))
                digests.append((weights_digest(clone), tables_digest(clone)))
                print(f"{command}, {name}: {waits[-1].wall:.1f} s", file=sys.stderr, flush=True)
                if len(waits) == 1:
                    run(clone, "git", "add", "--all")
                    run(clone, "git", "commit", "--quiet", "--message", "Results")
    return found


def table(taken: dict[str, list[list[Wait]]], equal: tuple[bool, bool], seeds: list[int]) -> str:
    """In Markdown; `taken`: for each revision the waits of each round; `equal`: weights, tables."""
    rounds = len(next(iter(taken.values())))
    option = f" --seeds {' '.join(map(str, seeds))}" if seeds else ""
    medians = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    chosen = f"seeds {', '.join(map(str, seeds))}" if seeds else "the seeds of params.yaml"
    lines = [
        "# Waits",
        "",
        f"`python -m benchmarks.waits {' '.join(taken)} --rounds {rounds}{option}`: {described()}.",
        "",
        f"Seconds on the clock, {medians}, in turns; in brackets processor seconds of all processes, and the "
        f"stages that ran. Digits-LT, {chosen}.",
        "",
        f"| command | {' | '.join(taken)} |",
        f"| --- |{' --: |' * len(taken)}",
    ]
    for place, command in enumerate(COMMANDS):
        cells = []
        for waits in taken.values():
            own = [each[place] for each in waits]
            wall, processor = (median(getattr(wait, name) for wait in own) for name in ("wall", "processor"))
            cells.append(f"{wall:.1f} ({processor:.0f} s, {own[0].stages} stages)")
        lines.append(f"| {command} | {' | '.join(cells)} |")
    if len(taken) > 1:
        weights, tables = ("are equal" if same else "DIFFER" for same in equal)
        lines += ["", f"Weights {weights}, byte by byte; tables, claims and curves {tables}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and write it to `benchmarks/results/waits.md`."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("revisions", nargs="*", default=["HEAD"], help="of git (default HEAD)")
    options.add_argument("--rounds", type=int, default=3, help="of each revision (default 3)")
    options.add_argument(
        "--seeds", type=int, nargs="*", default=[], help="of the trainings (default: params.yaml's)"
    )
    given = options.parse_args()
    names = {
        revision: run(REPOSITORY, "git", "rev-parse", "--short", revision).strip()
        for revision in given.revisions
    }
    run(REPOSITORY, sys.executable, "-c", f"import {LARGE}")
    taken: dict[str, list[list[Wait]]] = {name: [] for name in names.values()}
    digests: list[list[Digests]] = []
    for _ in range(given.rounds):
        for name, (waits, own) in measure(list(taken), given.seeds).items():
            taken[name].append(waits)
            digests.append(own)
    weights, tables = ({tuple(pair[kind] for pair in found) for found in digests} for kind in (0, 1))
    text = table(taken, (len(weights) == 1, len(tables) == 1), given.seeds)
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
