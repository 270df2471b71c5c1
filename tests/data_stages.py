"""The stages that make data sets, run in this process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from stages import console

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\n"


def run(monkeypatch: pytest.MonkeyPatch, stage: str, *words: str) -> int:
    """The stage's exit code."""
    monkeypatch.setattr(sys, "argv", [stage, *words])
    with pytest.raises(SystemExit) as left:
        console.run(importlib.import_module(f"stages.{stage}").main)
    return int(left.value.code or 0)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, by path."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
