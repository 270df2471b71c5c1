"""A stage or command in a test: in this process, or in one of its own where signals or imports matter."""

import importlib
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from longtail import commands
from longtail.pipeline import console

ROOT = Path(__file__).parents[2]
COMMANDS = {path.stem for path in (ROOT / "longtail" / "commands").glob("[a-z]*.py")}
DATA = ("plan", "prepare", "subsample 50", "extract_meta 50")
"""The stages before a training on digits-LT at imbalance 50."""


@dataclass(frozen=True)
class Result:
    """How a stage ended and what it printed."""

    code: int
    stdout: str
    stderr: str


def enter(name: str, *arguments: str) -> None:
    """Run `longtail <name>` or a stage with its command line, in this process; it leaves by SystemExit."""
    if name in COMMANDS:
        sys.argv = ["longtail", name, *arguments]
        commands.main()
    else:
        sys.argv = [name, *arguments]
        console.run(importlib.import_module(f"stages.{name}").main)


def run_stage(folder: Path, name: str, *arguments: str) -> Result:
    """Run a stage with its command line in `folder`, in this process: a new one imports torch for seconds."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    before, words = Path.cwd(), sys.argv
    try:
        os.chdir(folder)
        with redirect_stdout(output), redirect_stderr(errors):
            enter(name, *arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.argv = words
        os.chdir(before)
    return Result(code, output.getvalue(), errors.getvalue())


def run_stages(folder: Path, *lines: str) -> str:
    """Run stages one after the other, each a line; what they print. Raises RuntimeError where one fails."""
    said = ""
    for line in lines:
        result = run_stage(folder, *line.split())
        if result.code:
            raise RuntimeError(f"{line}: {result.stderr}")
        said += result.stdout
    return said


def environment(**more: str) -> dict[str, str]:
    """For a process of its own: this code, one thread, and nothing of a DVC or Git around the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def python(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with `more` in its environment."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


def start_python(folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start Python in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
