"""Several stages in one process of their own, which starts Python and torch once."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from longtail.pipeline import console
from tests.support.stage_runs import find_main
for line in sys.argv[1:]:
    words = line.split()
    sys.argv = words
    try:
        console.run(find_main(words[0]))
    except SystemExit as leave:
        if leave.code:
            raise
"""

COMMANDS = {path.stem for path in (ROOT / "longtail" / "commands").glob("[a-z]*.py")}


def find_main(name: str) -> Callable[..., None]:
    """The function behind a stage, or behind `longtail <name>`."""
    room = "longtail.commands" if name in COMMANDS else "stages"
    return importlib.import_module(f"{room}.{name}").main


DATA = ("plan", "prepare", "subsample 50", "extract_meta 50")


def environment() -> dict[str, str]:
    """Without the variables of a surrounding DVC, and with one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def stages(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run stages one after the other in `folder`, up to the first that fails."""
    command = [sys.executable, "-c", PROGRAM, *lines]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
