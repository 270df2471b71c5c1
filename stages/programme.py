"""The trainings of a programme, several at once, as far as a time budget goes."""

from __future__ import annotations

import json
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longtail.jobs import FAILED, read_failure
from longtail.programme import Budget, Pace, Step, choose
from stages import console, paths
from stages.training import (
    bring,
    cores,
    decoders,
    fail_heads,
    find_weights,
    make_job,
    meta_accuracy,
    read_inputs,
)

if TYPE_CHECKING:
    from longtail.jobs import CellInputs
    from longtail.plans import BundlePlan, ShotGroupsPlan

RESERVE = 15.0
"""Seconds that tables and figures take at the end."""


def read_all(plans: list[BundlePlan], imbalances: list[float]) -> dict[float, CellInputs]:
    """The images of all cells, by imbalance."""
    inputs: dict[float, CellInputs] = {}
    for imbalance in imbalances:
        plan = next(plan for plan in plans if plan.imbalance == imbalance)
        inputs[imbalance] = read_inputs(plan, next(iter(inputs.values()), None))
    return inputs


def train(
    steps: list[Step],
    inputs: dict[float, CellInputs],
    groups: ShotGroupsPlan,
    device: str,
    jobs: int,
    budget: Budget,
) -> None:
    """Train what is open of `steps`, as long as there is time; then what still trains saves a checkpoint.

    Raises console.Stopped after SIGTERM or Ctrl-C, once checkpoints are saved.
    """
    from stages.workers import Workers

    finished = {step.fingerprint for step in steps if is_sound(step)}
    waiting = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    begun = {step.fingerprint for step in waiting if paths.checkpoint(step.fingerprint).is_file()}
    pace = Pace()
    for step in steps:
        if is_sound(step) and facts(step, "cell.json")["device"] == device:
            pace.measure(step, facts(step, "timing.json")["seconds"])
    total = sum(step.training.iterations for step in waiting)
    count = max(1, min(jobs or (1 if device == "cuda" else cores()), len(waiting)))
    methods = {step.method for step in waiting}
    end = budget.end - RESERVE
    running: dict[Future[None], tuple[Step, float]] = {}
    with (
        console.progress("reproduce", total, "iterations") as shown,
        Workers(count, len(waiting), device, methods, inputs, end) as workers,
    ):
        while not workers.signalled:
            while len(running) < count:
                step = choose(waiting, finished, begun, pace, budget.left - RESERVE, idle=not running)
                if step is None:
                    break
                waiting.remove(step)
                plan, cell = step.cells[0]
                job = make_job(plan, cell, inputs[cell.imbalance], find_weights(plan))
                job = replace(job, device=device, decoders=decoders(device, count))
                future = workers.submit(job, paths.finished(step.fingerprint))
                running[future] = (step, time.monotonic())
            if not running:
                return
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            shown.reach(workers.iterations)
            for future in done:
                step, start = running.pop(future)
                future.result()
                if not paths.finished(step.fingerprint).is_dir():
                    shown.line(f"{step.name}: the time is over; it goes on from its checkpoint")
                    continue
                settle(step, groups)
                failure = read_failure(paths.finished(step.fingerprint))
                if failure is not None:
                    shown.line(f"{step.name} FAILED: {failure.reason}")
                    _fail_above(step, waiting, inputs, groups)
                    continue
                finished.add(step.fingerprint)
                seconds = facts(step, "timing.json")["seconds"]
                whole = step.fingerprint not in begun  # of a resumed one, `seconds` are those of two runs
                pace.measure(step, seconds, time.monotonic() - start - seconds if whole else None)
                accuracy = 100 * meta_accuracy(paths.finished(step.fingerprint))
                shown.line(
                    f"{step.name}: {seconds / 60:.1f} min, meta accuracy {accuracy:.1f} %; "
                    f"{len(finished)} of {len(steps)} trainings; {budget}"
                )
    raise console.Stopped(workers.signalled, f"{len(finished)} of {len(steps)} trainings are finished")


def _fail_above(
    below: Step, waiting: list[Step], inputs: dict[float, CellInputs], groups: ShotGroupsPlan
) -> None:
    """Take the heads on failed features out of `waiting`: they have failed, too."""
    for step in [step for step in waiting if step.features == below.fingerprint]:
        plan, cell = step.cells[0]
        fail_heads([make_job(plan, cell, inputs[cell.imbalance])])
        settle(step, groups)
        waiting.remove(step)


def is_sound(step: Step) -> bool:
    """Whether a training has come to its end, and did not fail."""
    folder = paths.finished(step.fingerprint)
    return folder.is_dir() and not (folder / FAILED).is_file()


def facts(step: Step, name: str) -> dict[str, Any]:
    """A JSON file of a finished training."""
    return json.loads((paths.finished(step.fingerprint) / name).read_text(encoding="utf-8"))


def settle(step: Step, groups: ShotGroupsPlan) -> None:
    """Bring a finished training to the places of its cells, and write their reports."""
    from longtail.atomic import write_json
    from stages.evaluate import report_on

    for plan, cell in step.cells:
        bring(plan, cell, paths.finished(step.fingerprint))
        report = report_on(
            paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member), cell, groups
        )
        path = paths.cell_report(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
        write_json(path, report.model_dump(mode="json"))
