"""The trainings of a programme, several at once, as far as a time budget goes."""

from __future__ import annotations

import json
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longtail.errors import DivergedError
from longtail.programme import Budget, Pace, Step, choose
from longtail.reports import FAILED
from stages import console, paths
from stages.training import bring, cores, make_job, meta_accuracy, read_inputs, start_workers, train_in_worker

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
) -> dict[str, str]:
    """Train what is open of `steps`, as long as there is time; why some diverged, by name."""
    finished = {step.fingerprint for step in steps if is_sound(step)}
    waiting = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    begun = {step.fingerprint for step in waiting if paths.checkpoint(step.fingerprint).is_file()}
    pace, diverged = Pace(), dict[str, str]()
    for step in steps:
        if is_sound(step) and facts(step, "cell.json")["device"] == device:
            pace.measure(step, facts(step, "timing.json")["seconds"])
    total = sum(step.training.iterations for step in waiting)
    workers = max(1, min(jobs or (1 if device == "cuda" else cores()), len(waiting)))
    methods = {step.method for step in waiting}
    pool, counter = start_workers(workers, device, methods, inputs)
    running: dict[Future[None], tuple[Step, float]] = {}
    with console.progress("reproduce", total, "iterations") as shown, pool:
        while True:
            while len(running) < workers:
                left = budget.left - RESERVE
                step = choose(waiting, finished, begun, pace, left, idle=not running)
                if step is None:
                    break
                waiting.remove(step)
                plan, cell = step.cells[0]
                job = replace(make_job(plan, cell, inputs[cell.imbalance]), device=device)
                running[pool.submit(train_in_worker, job)] = (step, time.monotonic())
            if not running:
                return diverged
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            shown.reach(counter.value)
            for future in done:
                step, start = running.pop(future)
                try:
                    future.result()
                except DivergedError as error:
                    diverged[step.name] = str(error)
                    shown.line(f"{step.name} FAILED: {error}")
                    continue
                finished.add(step.fingerprint)
                seconds = facts(step, "timing.json")["seconds"]
                whole = step.fingerprint not in begun  # of a resumed one, `seconds` are those of two runs
                pace.measure(step, seconds, time.monotonic() - start - seconds if whole else None)
                settle(step, groups)
                accuracy = 100 * meta_accuracy(paths.finished(step.fingerprint))
                shown.line(
                    f"{step.name}: {seconds / 60:.1f} min, meta accuracy {accuracy:.1f} %; "
                    f"{len(finished)} of {len(steps)} trainings; {budget}"
                )


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
