"""Training a benchmark's cells without DVC, the most important first, until a time budget runs out."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from longtail.config.params import read_params
from longtail.errors import InputError
from longtail.pipeline import console, datasets, paths
from longtail.pipeline.devices import choose_device, cores, decoder_count, device_name, worker_count
from longtail.pipeline.exclusive import train_exclusively
from longtail.pipeline.finished import (
    fail_head,
    is_sound,
    meta_accuracy,
    publish_and_report,
    training_seconds,
)
from longtail.pipeline.hours import add_finished, hours, speeds_file
from longtail.pipeline.inputs import find_weights, make_job, read_all, with_weights
from longtail.pipeline.page import page
from longtail.pipeline.plot import plot
from longtail.pipeline.remedies import remedies
from longtail.pipeline.results import keep
from longtail.pipeline.scheduler import train
from longtail.pipeline.tabulate import tabulate
from longtail.pipeline.workers import TrainJob, Workers, train_job
from longtail.planning.planner import plan_bundles, plan_shot_groups
from longtail.planning.plans import ShotGroupsPlan
from longtail.running.cell_folders import Failure, read_failure
from longtail.running.jobs import CellInputs
from longtail.running.pace import Pace
from longtail.running.programme import Budget, Step, programme, select_cells, slice_of
from longtail.running.speeds import read_speeds

if TYPE_CHECKING:
    from longtail.pipeline.cluster.executor import Cluster

RESERVE = 15.0
"""Seconds kept for tables and figures."""


@remedies("run `dvc repro`")
def reproduce(
    benchmark: str,
    budget_minutes: float | None,
    only: list[str] | None,
    imbalance: list[float] | None,
    seed: list[int] | None,
    device: str,
    jobs: int,
    dry_run: bool,
    results: Path | None,
    part: str | None,
    address: str | None,
    insecure: bool,
) -> None:
    """Train the chosen cells, then make tables and figures, as the command `reproduce` says."""
    slices = None if part is None else read_slice(part)
    if slices and address is not None:
        raise InputError("--slice", "shares the cells in another way than --cluster", "leave out one of them")
    if slices and results is not None:
        raise InputError("--results", "a slice makes no tables", "give it to the run that follows all slices")
    budget = Budget(budget_minutes, reserve=RESERVE)
    params = read_params()
    chosen = params.benchmark(benchmark)
    params = with_weights(params, chosen)
    plans = plan_bundles(chosen, params)
    cells = select_cells(plans, only or [], imbalance or [], seed or [])
    imbalances = list(dict.fromkeys(cell.imbalance for _, cell in cells))
    if not dry_run:
        if slices:
            paths.work().mkdir(exist_ok=True)
        with FileLock(paths.work() / "data.lock") if slices else nullcontext():
            datasets.make(chosen, params, imbalances)
    known = not dry_run or datasets.is_current(chosen, params)
    manifests = {r: datasets.fingerprints(benchmark, r) if known else {} for r in imbalances}
    steps = programme(plans, cells, manifests)
    if slices:
        steps = slice_of(steps, *slices)
    if dry_run:
        show(steps, device, count_workers(address, insecure) if address else jobs)
        return
    groups = plan_shot_groups(chosen, params)
    waiting = []
    for step in steps:
        if paths.finished(step.fingerprint).is_dir():
            publish_step(step, groups)
        else:
            waiting.append(step)
    trainings = console.counted(len(steps), "training")
    console.say("reproduce", f"{benchmark}: {trainings}, {len(waiting)} to do; {budget}")
    cluster = None
    if address is None:
        device = choose_device(device)
    if waiting:
        inputs = read_all(plans, imbalances)
        if address is not None:
            from longtail.pipeline.cluster.executor import Cluster

            cluster = Cluster("reproduce", address, insecure, inputs[imbalances[0]], device, jobs)
        train_one = train_exclusively if slices else train_job
        saved = train_all(steps, waiting, inputs, groups, device, jobs, budget, train_one, cluster)
        if saved:
            names = ", ".join(step.name for step in saved)
            console.say("reproduce", f"budget used up; checkpointed: {names}")
    if not slices:
        local = "a cluster" if address else device_name(device)
        finish(benchmark, steps, cluster.hardware if cluster else local, results)
        return
    ended = sum(paths.finished(step.fingerprint).is_dir() for step in steps)
    console.done(
        "reproduce",
        f"slice {part}: {ended} of {console.counted(len(steps), 'training')} finished; "
        "after all slices, run the command without --slice for tables and figures",
    )


def count_workers(address: str, insecure: bool) -> int:
    """How many workers the cluster has now. Raises InputError."""
    from longtail.pipeline.cluster.connection import connect

    client = connect(address, insecure)
    found = len(client.nthreads())
    client.close()
    return found


def read_slice(text: str) -> tuple[int, int]:
    """The numbers of `3/16`. Raises InputError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"--slice {text}", "not a slice", "give K/N with K from 1 to N, such as 3/16")
    return number, count


def train_all(
    steps: list[Step],
    unfinished: list[Step],
    inputs: dict[float, CellInputs],
    groups: ShotGroupsPlan,
    device: str,
    jobs: int,
    budget: Budget,
    train_one: TrainJob = train_job,
    cluster: Cluster | None = None,
) -> list[Step]:
    """Train and publish the `unfinished` ones of `steps`; return what the budget left unfinished.

    Local processes train them with `train_one`, or the workers of `cluster`.
    """
    if cluster is not None:
        device = cluster.kind
    failures = {step.fingerprint: read_failure(paths.finished(step.fingerprint)) for step in steps}
    waiting = []
    for step in unfinished:
        below = failures.get(step.features or "")
        if paths.finished(step.fingerprint).is_dir():  # another client has trained it meanwhile
            publish_step(step, groups)
        elif below is not None:
            fail_head(step, below)
            publish_step(step, groups)
        else:
            waiting.append(step)
    pace, sound = Pace(), {step.fingerprint for step in steps if is_sound(step.fingerprint)}
    add_finished(pace, steps, device)
    workers = worker_count(jobs, device, len(waiting))
    changes = {"device": device, "decoders": decoder_count(device, workers)}

    def on(step: Step) -> str:
        return "" if cluster is None else f" on {cluster.where(step.fingerprint)}"

    def ended(step: Step, failure: Failure | None) -> str:
        publish_step(step, groups)
        if failure is not None:
            return f"{step.name} FAILED{on(step)}: {failure.reason}"
        sound.add(step.fingerprint)
        finished = paths.finished(step.fingerprint)
        accuracy = f"meta accuracy {100 * meta_accuracy(finished):.1f} %{on(step)}"
        return (
            f"{step.name}: {training_seconds(finished) / 60:.1f} min, {accuracy}; "
            f"{len(sound)} of {len(steps)} trainings; {budget}"
        )

    return train(
        "reproduce",
        waiting,
        lambda step: replace(make_job(step, inputs[step.cell.imbalance], find_weights(step.plan)), **changes),
        cluster
        or Workers(workers, len(waiting), device, {step.method for step in waiting}, inputs, train_one),
        ended=ended,
        sound=frozenset(sound),
        budget=budget,
        pace=pace,
    )


def publish_step(step: Step, groups: ShotGroupsPlan) -> None:
    """Copy a finished training to the places of its cells, and write their reports."""
    for plan, cell in step.cells:
        publish_and_report(plan, cell, paths.finished(step.fingerprint), groups)


def show(steps: list[Step], device: str, jobs: int) -> None:
    """Print all trainings, their state, and the hours that the others take."""
    for number, step in enumerate(steps, start=1):
        others = [cell.name for _, cell in step.cells[1:]]
        begun = "begun" if paths.checkpoint(step.fingerprint).is_file() else "open"
        state = "finished" if paths.finished(step.fingerprint).is_dir() else begun
        same = f" = {', '.join(others)}" if others else ""
        print(f"{number:>4}  {state:<8}  {step.training.iterations:>6} iterations  {step.name}{same}")
    waiting = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    speeds = read_speeds(speeds_file())
    if speeds is not None and device not in ("auto", speeds.device):
        speeds = None
    used = "cpu" if speeds is None else speeds.device
    workers = worker_count(jobs or (1 if used == "cuda" else cores()), used, len(waiting))
    console.say("reproduce", f"to train: {hours(waiting, speeds, workers)}")
    finished = len(steps) - len(waiting)
    console.done("reproduce", f"{finished} of {len(steps)} trainings are finished; nothing was changed")


def finish(benchmark: str, steps: list[Step], hardware: str, results: Path | None) -> None:
    """Make tables, figures and page of the finished trainings, and print the summary."""
    command = f"longtail {shlex.join(sys.argv[1:])}"
    ended = [step for step in steps if paths.finished(step.fingerprint).is_dir()]
    failed = {
        step.name: failure for step in ended if (failure := read_failure(paths.finished(step.fingerprint)))
    }
    sound = [step for step in ended if step.name not in failed]
    if ended:
        tabulate(benchmark, incomplete=True)
        plot(benchmark, incomplete=True)
        page(benchmark, incomplete=True)
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
