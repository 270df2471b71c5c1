"""How long trainings take on this machine: what `longtail doctor` measured, and finished trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtail.pipeline import console, paths
from longtail.pipeline.finished import is_sound, training_seconds
from longtail.running.cell_folders import read_cell
from longtail.running.pace import Pace
from longtail.running.programme import Step
from longtail.running.speeds import Speeds


def speeds_file() -> Path:
    """Where `longtail doctor` keeps its measurements."""
    return paths.work() / "speeds.json"


def add_finished(pace: Pace, steps: Sequence[Step], device: str) -> None:
    """Add the iterations of those of `steps` that were trained on `device`."""
    for step in steps:
        finished = paths.finished(step.fingerprint)
        if is_sound(step.fingerprint) and read_cell(finished).device == device:
            pace.measure(step, training_seconds(finished))


def hours(steps: Sequence[Step], speeds: Speeds | None, workers: int) -> str:
    """The time of the iterations of `steps`, alone and on `workers` as fast as this one."""
    if not steps:
        return "nothing to train"
    if speeds is None or not all(speeds.knows(step) for step in steps):
        return "hours not known; `longtail doctor` measures them"
    pace = speeds.pace(steps)
    add_finished(pace, steps, speeds.device)
    known = {number: console.duration(pace.left(steps, {}, number) or 0.0) for number in (1, workers)}
    return f"{known[1]} alone" + (f", {known[workers]} on {workers} workers" if workers > 1 else "")
