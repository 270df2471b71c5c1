"""`--help` of every command answers at once, which is to say: it imports nothing that takes time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stage_runs import ROOT, environment

COMMANDS = sorted(
    [
        *((f"stages.{path.stem}",) for path in (ROOT / "stages").glob("[a-z]*.py")),
        ("longtail",),
        *(("longtail", path.stem) for path in (ROOT / "longtail" / "commands").glob("[a-z]*.py")),
    ]
)
HEAVY = {
    *("torch", "torchvision", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "PIL"),
    *("mlflow", "dvc", "onnx", "pydantic", "yaml", "multiprocessing", "http", "ssl"),
}
"""Not one of them is there after some 0.1 s; torch alone takes two seconds."""


def imported(folder: Path, *arguments: str) -> tuple[set[str], str]:
    """The modules, by their first names, that are loaded once a command has answered; and its answer."""
    command = [sys.executable, "-X", "importtime", "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^import time:.*\|\s+(\S+)$", done.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}, done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_that_takes_time(command: tuple[str, ...], tmp_path: Path) -> None:
    names, said = imported(tmp_path, *command, "--help")
    assert "Usage" in said
    assert "typer" in names, "the control: what is imported is seen"
    by_typer = {"pydantic"} if len(command) == 2 else set()  # it checks the words of a group with pydantic
    assert not names & (HEAVY - by_typer)


def test_all_commands_are_looked_at() -> None:
    last = {command[-1].removeprefix("stages.") for command in COMMANDS}
    assert {"plan", "prepare", "represent", "evaluate", "tabulate", "track", "predict", "reproduce"} <= last
