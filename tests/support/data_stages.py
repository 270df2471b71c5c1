"""The stages that make data sets, run in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from longtail.pipeline import console
from tests.support.stage_runs import find_main

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\n"


def run(monkeypatch: pytest.MonkeyPatch, stage: str, *words: str) -> int:
    """The stage's exit code."""
    monkeypatch.setattr(sys, "argv", [stage, *words])
    with pytest.raises(SystemExit) as left:
        console.run(find_main(stage))
    return int(left.value.code or 0)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, by path."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
