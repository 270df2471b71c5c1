"""The trainings of a programme, several at once, as far as a time budget goes."""

from __future__ import annotations

import json
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longtail.pipeline import console, paths
from longtail.pipeline.bundles import (
    bring,
    cores,
    decoders,
    fail_heads,
    find_weights,
    make_job,
    meta_accuracy,
    read_inputs,
)
from longtail.running.cell_folders import FAILED, read_failure
from longtail.running.pace import Pace
from longtail.running.programme import Budget, Step, choose

if TYPE_CHECKING:
    from longtail.planning.plans import BundlePlan, ShotGroupsPlan
    from longtail.running.jobs import CellInputs

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
    """Train what is open of `steps` until the time is over; what trains then is saved, to go on another time.

    Raises console.Stopped after a signal, and MachineError where a worker was killed.
    """
    from longtail.pipeline.workers import Workers

    finished = {step.fingerprint for step in steps if is_sound(step)}
    waiting = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    begun = {step.fingerprint for step in waiting if paths.checkpoint(step.fingerprint).is_file()}
    pace = Pace()
    for step in steps:
        if is_sound(step) and facts(step, "cell.json")["device"] == device:
            pace.measure(step, facts(step, "timing.json")["seconds"])
    for step in steps:
        if paths.finished(step.fingerprint).is_dir() and not is_sound(step):
            _fail_heads_on(step, waiting, inputs, groups)
    total = sum(step.training.iterations for step in waiting)
    count = max(1, min(jobs or (1 if device == "cuda" else cores()), len(waiting)))
    methods = {step.method for step in waiting}
    running: dict[Future[None], tuple[Step, float]] = {}
    over = False

    def end(step: Step, start: float) -> None:
        settle(step, groups)
        failure = read_failure(paths.finished(step.fingerprint))
        if failure is not None:
            shown.line(f"{step.name} FAILED: {failure.reason}")
            _fail_heads_on(step, waiting, inputs, groups)
            return
        finished.add(step.fingerprint)
        seconds = facts(step, "timing.json")["seconds"]
        whole = step.fingerprint not in begun  # of a resumed one, `seconds` are those of two runs
        pace.measure(step, seconds, time.monotonic() - start - seconds if whole else None)
        accuracy = 100 * meta_accuracy(paths.finished(step.fingerprint))
        shown.line(
            f"{step.name}: {seconds / 60:.1f} min, meta accuracy {accuracy:.1f} %; "
            f"{len(finished)} of {len(steps)} trainings; {budget}"
        )

    with (
        console.progress("reproduce", total, "iterations") as shown,
        Workers(count, len(waiting), device, methods, inputs) as workers,
    ):
        while not workers.signalled:
            left = budget.left - RESERVE
            while len(running) < count and (step := choose(waiting, finished, begun, pace, left)):
                waiting.remove(step)
                job = make_job(step.plan, step.cell, inputs[step.cell.imbalance], find_weights(step.plan))
                job = replace(job, device=device, decoders=decoders(device, count))
                running[workers.submit(job, paths.finished(step.fingerprint))] = (step, time.monotonic())
            if not running:
                break
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            under_way, reached = [step for step, _ in running.values()], workers.reached
            pace.watch(under_way, reached, time.monotonic())
            open_time = pace.left([*under_way, *waiting], reached, count)
            shown.reach(sum(reached.values()), None if open_time is None else min(open_time, budget.left))
            for future in done:
                future.result()
                if paths.finished(running[future][0].fingerprint).is_dir():  # not so after a signal
                    end(*running.pop(future))
            if running and left <= 0:
                over = True
                workers.stop()
    for step, start in running.values():  # the workers have left: some ended their cell, the others saved it
        if paths.finished(step.fingerprint).is_dir():
            end(step, start)
    if workers.signalled and not over:
        raise console.Stopped(workers.signalled, f"{len(finished)} of {len(steps)} trainings")
    saved = [step.name for step, _ in running.values() if not paths.finished(step.fingerprint).is_dir()]
    if saved:
        console.say("reproduce", f"the time is over; saved, to go on another time: {', '.join(saved)}")


def _fail_heads_on(
    step: Step, waiting: list[Step], inputs: dict[float, CellInputs], groups: ShotGroupsPlan
) -> None:
    """The heads on features that failed have failed, and wait no longer."""
    for head in [head for head in waiting if head.features == step.fingerprint]:
        fail_heads([make_job(head.plan, head.cell, inputs[head.cell.imbalance])])
        settle(head, groups)
        waiting.remove(head)


def is_sound(step: Step) -> bool:
    """Whether a training has come to its end, and did not fail."""
    folder = paths.finished(step.fingerprint)
    return folder.is_dir() and not (folder / FAILED).is_file()


def facts(step: Step, name: str) -> dict[str, Any]:
    """A JSON file of a finished training."""
    return json.loads((paths.finished(step.fingerprint) / name).read_text(encoding="utf-8"))


def settle(step: Step, groups: ShotGroupsPlan) -> None:
    """Bring a finished training to the places of its cells, and write their reports."""
    from longtail.files import write_json
    from longtail.reporting.evaluation import report_on

    for plan, cell in step.cells:
        bring(plan, cell, paths.finished(step.fingerprint))
        report = report_on(
            paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member), cell, groups
        )
        path = paths.cell_report(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
        write_json(path, report.model_dump(mode="json"))
