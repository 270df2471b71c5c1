"""Train a benchmark's cells without DVC, the most important first, until a time budget runs out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longtail.pipeline import console, options, paths
from longtail.pipeline.remedies import remedies

if TYPE_CHECKING:
    from longtail.planning.plans import ShotGroupsPlan
    from longtail.running.cell_folders import Failure
    from longtail.running.jobs import CellInputs
    from longtail.running.programme import Budget, Step

RESERVE = 15.0
"""Seconds kept for tables and figures."""


@remedies("run `dvc repro`")
def main(
    benchmark: options.Benchmark = "cifar100-lt",
    budget_minutes: Annotated[
        float | None, typer.Option(min=0, help="Skip trainings that would exceed the budget.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="This variant, or cross_entropy-crt for a head; repeatable.")
    ] = None,
    imbalance: Annotated[list[float] | None, typer.Option(help="Only this one; repeatable.")] = None,
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trainings and exit.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Copy what can be committed here: all but weights and predictions.")
    ] = None,
) -> None:
    """Train cells without DVC within a time budget.

    The most important cells come first; tables and figures follow. Re-run the same command to resume:
    finished trainings stay in work/.
    """
    from longtail.running.programme import Budget, programme, select_cells

    budget = Budget(budget_minutes, reserve=RESERVE)
    from longtail.config.params import read_params
    from longtail.pipeline import datasets
    from longtail.pipeline.devices import check_device, choose_device, device_name
    from longtail.pipeline.inputs import read_all, with_weights
    from longtail.planning.planner import plan_bundles, plan_shot_groups

    check_device(device)
    params = read_params()
    chosen = params.benchmark(benchmark)
    params = with_weights(params, chosen)
    plans = plan_bundles(chosen, params)
    cells = select_cells(plans, only or [], imbalance or [], seed or [])
    imbalances = list(dict.fromkeys(cell.imbalance for _, cell in cells))
    if not dry_run:
        datasets.make(chosen, params, imbalances)
    known = not dry_run or datasets.is_current(chosen, params)
    manifests = {r: datasets.fingerprints(benchmark, r) if known else {} for r in imbalances}
    steps = programme(plans, cells, manifests)
    if dry_run:
        show(steps)
        return
    groups = plan_shot_groups(chosen, params)
    for step in steps:
        if paths.finished(step.fingerprint).is_dir():
            publish_step(step, groups)
    waiting = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    trainings = console.counted(len(steps), "training")
    console.say("reproduce", f"{benchmark}: {trainings}, {len(waiting)} to do; {budget}")
    device = choose_device(device)
    if waiting:
        inputs = read_all(plans, imbalances)
        saved = train_all(steps, inputs, groups, device, jobs, budget)
        if saved:
            names = ", ".join(step.name for step in saved)
            console.say("reproduce", f"budget used up; checkpointed: {names}")
    finish(benchmark, steps, device_name(device), results)


def train_all(
    steps: list[Step],
    inputs: dict[float, CellInputs],
    groups: ShotGroupsPlan,
    device: str,
    jobs: int,
    budget: Budget,
) -> list[Step]:
    """Train and publish the unfinished `steps`; return what the budget left unfinished."""
    from dataclasses import replace

    from longtail.pipeline.devices import decoder_count, worker_count
    from longtail.pipeline.finished import fail_head, is_sound, meta_accuracy, training_seconds
    from longtail.pipeline.inputs import find_weights, make_job
    from longtail.pipeline.scheduler import train
    from longtail.pipeline.workers import Workers
    from longtail.running.cell_folders import read_cell, read_failure
    from longtail.running.pace import Pace

    pace, sound = Pace(), {step.fingerprint for step in steps if is_sound(step.fingerprint)}
    for step in steps:
        finished = paths.finished(step.fingerprint)
        if step.fingerprint in sound and read_cell(finished).device == device:
            pace.measure(step, training_seconds(finished))
    failures = {step.fingerprint: read_failure(paths.finished(step.fingerprint)) for step in steps}
    waiting = []
    for step in steps:
        below = failures.get(step.features or "")
        if below is not None and not paths.finished(step.fingerprint).is_dir():
            fail_head(step, below)
            publish_step(step, groups)
        elif not paths.finished(step.fingerprint).is_dir():
            waiting.append(step)
    workers = worker_count(jobs, device, len(waiting))
    changes = {"device": device, "decoders": decoder_count(device, workers)}

    def ended(step: Step, failure: Failure | None) -> str:
        publish_step(step, groups)
        if failure is not None:
            return f"{step.name} FAILED: {failure.reason}"
        sound.add(step.fingerprint)
        finished = paths.finished(step.fingerprint)
        return (
            f"{step.name}: {training_seconds(finished) / 60:.1f} min, meta accuracy "
            f"{100 * meta_accuracy(finished):.1f} %; {len(sound)} of {len(steps)} trainings; {budget}"
        )

    return train(
        "reproduce",
        waiting,
        lambda step: replace(make_job(step, inputs[step.cell.imbalance], find_weights(step.plan)), **changes),
        Workers(workers, len(waiting), device, {step.method for step in waiting}, inputs),
        ended=ended,
        sound=frozenset(sound),
        budget=budget,
        pace=pace,
    )


def publish_step(step: Step, groups: ShotGroupsPlan) -> None:
    """Copy a finished training to the places of its cells, and write their reports."""
    from longtail.pipeline.finished import publish_and_report

    for plan, cell in step.cells:
        publish_and_report(plan, cell, paths.finished(step.fingerprint), groups)


def show(steps: list[Step]) -> None:
    """Print all trainings and their state."""
    for number, step in enumerate(steps, start=1):
        others = [cell.name for _, cell in step.cells[1:]]
        begun = "begun" if paths.checkpoint(step.fingerprint).is_file() else "open"
        state = "finished" if paths.finished(step.fingerprint).is_dir() else begun
        same = f" = {', '.join(others)}" if others else ""
        print(f"{number:>4}  {state:<8}  {step.training.iterations:>6} iterations  {step.name}{same}")
    finished = sum(paths.finished(step.fingerprint).is_dir() for step in steps)
    console.done("reproduce", f"{finished} of {len(steps)} trainings are finished; nothing was changed")


def finish(benchmark: str, steps: list[Step], hardware: str, results: Path | None) -> None:
    """Make tables and figures of the finished trainings, and print the summary."""
    from longtail.pipeline.finished import training_seconds
    from longtail.pipeline.plot import plot
    from longtail.pipeline.results import keep
    from longtail.pipeline.tabulate import tabulate
    from longtail.running.cell_folders import read_failure

    command = f"longtail {shlex.join(sys.argv[1:])}"
    ended = [step for step in steps if paths.finished(step.fingerprint).is_dir()]
    failed = {
        step.name: failure for step in ended if (failure := read_failure(paths.finished(step.fingerprint)))
    }
    sound = [step for step in ended if step.name not in failed]
    if ended:
        tabulate(benchmark, incomplete=True)
        plot(benchmark, incomplete=True)
        if results is not None:
            keep(results, benchmark, command, hardware)
    for name, failure in failed.items():
        console.say("reproduce", f"{name} FAILED: {failure.reason}")
    seconds = sum(training_seconds(paths.finished(step.fingerprint)) for step in sound)
    cells = [sum(len(step.cells) for step in part) for part in (sound, steps)]
    console.done(
        "reproduce",
        f"{cells[0]} of {cells[1]} cells finished, {seconds / 60:.1f} minutes of training on {hardware}"
        + (f"; {len(failed)} FAILED" if failed else "")
        + ("" if len(sound) + len(failed) == len(steps) else "; re-run the same command to resume"),
    )
