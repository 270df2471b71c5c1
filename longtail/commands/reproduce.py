"""A benchmark's whole programme in one process, as far as a time budget goes; without DVC."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longtail.pipeline import console, paths

if TYPE_CHECKING:
    from longtail.running.programme import Step


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "cifar100-lt",
    budget_minutes: Annotated[
        float | None, typer.Option(min=0, help="Start nothing that takes longer.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="This variant, or cross_entropy-crt for a head; may be given again."),
    ] = None,
    imbalance: Annotated[list[float] | None, typer.Option(help="Only this one; may be given again.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given again.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Cells trained at once; 0: one a core, one on a GPU.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the programme, and do nothing.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Copy what can be committed here: all but weights and predictions.")
    ] = None,
) -> None:
    """Train the cells of params.yaml, those that matter most first, and fill tables and figures with them.

    Started again it goes on: what is finished lies in work/, and is not trained again.
    """
    from longtail.running.programme import Budget, programme, select_cells

    budget = Budget(budget_minutes)
    from longtail.config.params import read_params
    from longtail.pipeline import datasets
    from longtail.pipeline.devices import check_device, choose_device, device_name
    from longtail.pipeline.inputs import with_weights
    from longtail.pipeline.scheduler import read_all, settle, train
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
            settle(step, groups)
    open_steps = [step for step in steps if not paths.finished(step.fingerprint).is_dir()]
    trainings = console.counted(len(steps), "training")
    console.say("reproduce", f"{benchmark}: {trainings}, {len(open_steps)} to do; {budget}")
    device = choose_device(device)
    if open_steps:
        inputs = read_all(plans, imbalances)
        train(steps, inputs, groups, device, jobs, budget)
    finish(benchmark, steps, device_name(device), results)


def show(steps: list[Step]) -> None:
    """Print the programme with what is finished."""
    for number, step in enumerate(steps, start=1):
        others = [cell.name for _, cell in step.cells[1:]]
        begun = "begun" if paths.checkpoint(step.fingerprint).is_file() else "open"
        state = "finished" if paths.finished(step.fingerprint).is_dir() else begun
        same = f" = {', '.join(others)}" if others else ""
        print(f"{number:>4}  {state:<8}  {step.training.iterations:>6} iterations  {step.name}{same}")
    finished = sum(paths.finished(step.fingerprint).is_dir() for step in steps)
    console.done("reproduce", f"{finished} of {len(steps)} trainings are finished; nothing was changed")


def finish(benchmark: str, steps: list[Step], hardware: str, results: Path | None) -> None:
    """Tables and figures of what is there, and the last lines."""
    from longtail.pipeline.plot import plot
    from longtail.pipeline.results import keep
    from longtail.pipeline.scheduler import facts, is_sound
    from longtail.pipeline.tabulate import tabulate
    from longtail.running.cell_folders import FAILED

    command = f"longtail {shlex.join(sys.argv[1:])}"
    ended = [step for step in steps if paths.finished(step.fingerprint).is_dir()]
    sound = [step for step in ended if is_sound(step)]
    failed = {step.name: facts(step, FAILED)["reason"] for step in ended if not is_sound(step)}
    if ended:
        tabulate(benchmark, incomplete=True)
        plot(benchmark, incomplete=True)
        if results is not None:
            keep(results, benchmark, command, hardware)
    for name, reason in failed.items():
        console.say("reproduce", f"{name} FAILED: {reason}")
    seconds = sum(facts(step, "timing.json")["seconds"] for step in sound)
    cells = [sum(len(step.cells) for step in part) for part in (sound, steps)]
    console.done(
        "reproduce",
        f"{cells[0]} of {cells[1]} cells finished, {seconds / 60:.1f} minutes of training on {hardware}"
        + (f"; {len(failed)} FAILED" if failed else "")
        + ("" if len(sound) + len(failed) == len(steps) else "; the same command goes on"),
    )
