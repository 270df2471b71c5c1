"""Training the cells of a bundle: what `represent` and `retrain` share."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.errors import InputError
from longtail.pipeline import console, paths
from longtail.pipeline.ahead import is_wanted, open_trainings
from longtail.pipeline.cluster.addresses import CLUSTER, INSECURE
from longtail.pipeline.devices import choose_device, decoder_count, worker_count
from longtail.pipeline.finished import check_finished, fail_head, is_sound, meta_accuracy, publish
from longtail.pipeline.inputs import features_ranks, find_weights, make_job, read_inputs
from longtail.pipeline.ranks import RankedTrainings, joined
from longtail.pipeline.remedies import remedies
from longtail.planning.fingerprints import fingerprint
from longtail.planning.planner import remarks
from longtail.planning.plans import BundlePlan, Cell, check_code, read_bundle
from longtail.running.cell_folders import read_failure
from longtail.running.programme import Step

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job
    from longtail.training.ranks import Ranks


@remedies()
def run_bundle(
    stage: str, benchmark: str, imbalance: float, bundle: str, seeds: list[int], device: str, jobs: int
) -> None:
    """`train_bundle`, in this process or as one of torchrun's ranks."""
    with joined(device) as ranks:
        train_bundle(stage, benchmark, imbalance, bundle, seeds, device, jobs, ranks)


def train_bundle(
    stage: str,
    benchmark: str,
    imbalance: float,
    bundle: str,
    seeds: list[int],
    device: str,
    jobs: int,
    ranks: Ranks,
) -> None:
    """Train the open cells of a bundle, and publish all its cells to `models/`.

    A cell whose fingerprint any experiment of this repository has finished comes from the work folder; a
    training that was interrupted resumes from its checkpoint. Ranks train one cell after the other together.
    """
    path = paths.plan(benchmark, imbalance, bundle)
    planned = read_bundle(path)
    plan = planned.model_copy(update={"ranks": ranks.size})
    if plan.stage != stage:
        raise InputError(path, f"a bundle of stage {plan.stage}", f"run `python -m stages.{plan.stage}`")
    for training in (plan, *plan.heads.values()):
        check_code(path, training.code)
    cells = [cell for cell in plan.cells() if not seeds or cell.seed in seeds]
    if not cells:
        given = " ".join(map(str, seeds))
        raise InputError(f"--seed {given}", "not planned", f"seeds are {plan.seeds}")
    inputs = read_inputs(plan)
    weights = find_weights(plan)
    work = {cell: make_job(_step(plan, cell, inputs), inputs, weights) for cell in cells}
    for job in work.values() if ranks.rank == 0 else ():
        below = read_failure(job.features) if job.features is not None else None
        if below is not None and not _finished(job).is_dir():
            fail_head(job, below)
        if _finished(job).is_dir():
            check_finished(stage, job, inputs)
    ranks.largest(0)  # by now rank 0 has looked at them
    own = [job for job in work.values() if not _finished(job).is_dir()]
    cluster = None
    if own and ranks.size == 1 and (address := os.environ.get(CLUSTER)):
        from longtail.pipeline.cluster.executor import Cluster

        cluster = Cluster(stage, address, os.environ.get(INSECURE) == "1", inputs, device, jobs)
    ahead, images = [], {imbalance: inputs}
    if own and ranks.size == 1 and (cluster or is_wanted()):
        ahead, images = open_trainings(plan, inputs, {job.fingerprint for job in own})
    if cluster:
        device, workers = cluster.kind, cluster.workers
    else:
        device = choose_device(device) if own else "no device"  # choosing one imports torch
        workers = worker_count(jobs, device, len(own) + len(ahead)) if ranks.size == 1 else 1
    _announce(stage, plan, inputs, len(cells), len(own), device, workers)
    if ahead:
        console.say(stage, f"{len(ahead)} cells of other stages are trained ahead of them")
    if own:
        from longtail.pipeline.scheduler import train
        from longtail.pipeline.workers import Workers

        steps = [*(_step(plan, job.cell, inputs) for job in own), *ahead]
        beside = int(os.environ["LOCAL_WORLD_SIZE"]) if ranks.size > 1 else workers
        changes = {"device": device, "decoders": decoder_count(device, beside)}
        methods = {step.method for step in steps}

        def job_of(step: Step) -> Job:
            features = None if step.features is None else paths.finished(step.features)
            return replace(make_job(step, images[step.cell.imbalance], weights, features), **changes)

        if cluster is not None:
            executor = cluster
        elif ranks.size > 1:
            executor = RankedTrainings(ranks, device, images)
        else:
            executor = Workers(workers, len(steps), device, methods, images)
        train(
            stage,
            steps,
            job_of,
            executor,
            sound={step.features for step in ahead if step.features and is_sound(step.features)},
            optional={step.fingerprint for step in ahead},
        )
        console.say(stage, _throughput([_finished(job) for job in own]))
    for cell, job in work.items() if ranks.rank == 0 else ():
        publish(planned, cell, _finished(job))
    _conclude(stage, paths.bundle_models(benchmark, imbalance, bundle), work, len(own))


def _step(plan: BundlePlan, cell: Cell, inputs: CellInputs) -> Step:
    if cell.head is not None:
        plan = plan.model_copy(update={"features_ranks": features_ranks(cell)})
    return Step(plan, cell, fingerprint(plan, cell, inputs.fingerprints))


def _finished(job: Job) -> Path:
    return paths.finished(job.fingerprint)


def _throughput(folders: list[Path]) -> str:
    """How long the cells waited for images, on average."""
    places = [folder / "timing.json" for folder in folders]  # a failed cell has none
    timings = [json.loads(path.read_text(encoding="utf-8")) for path in places if path.is_file()]
    names = ("loader_images_per_second", "step_images_per_second", "waited")
    measured = [[timing[name] for name in names] for timing in timings if timing.get("waited") is not None]
    if not measured:
        return "loader and step: nothing was trained here, so nothing is measured"
    loader, step, waited = (sum(values) / len(measured) for values in zip(*measured, strict=True))
    return (
        f"a cell: loader {loader:,.0f} images/s, step {step:,.0f} images/s; the step waited for images "
        f"{100 * waited:.0f} % of the time"
    )


def _announce(
    stage: str, plan: BundlePlan, inputs: CellInputs, cells: int, to_train: int, device: str, workers: int
) -> None:
    counts = inputs.train.counts
    trainings = [head.training for head in plan.heads.values()] if plan.heads else [plan.training]
    iterations = "/".join(str(n) for n in sorted({training.iterations for training in trainings}))
    console.say(
        stage,
        f"{plan.benchmark} imb{plan.imbalance:g} {plan.bundle}: {sum(counts)} images, {len(counts)} classes, "
        f"n_max {max(counts)}, n_min {min(counts)}, meta {len(inputs.meta.label)}",
    )
    for remark in remarks(plan, counts):
        console.say(stage, remark)
    console.say(
        stage,
        f"{console.counted(cells, 'cell')} ({to_train} to train) x {iterations} iterations of "
        f"{trainings[0].batch_size}, {plan.network} on {device}, "
        + (f"{workers} at once" if plan.ranks == 1 else f"{plan.ranks} ranks together"),
    )


def _conclude(stage: str, folder: Path, work: dict[Cell, Job], trained: int) -> None:
    """Print the summary: meta accuracy, and failed cells."""
    failures = {cell: failure for cell, job in work.items() if (failure := read_failure(_finished(job)))}
    sound = [meta_accuracy(_finished(job)) for cell, job in work.items() if cell not in failures]
    mean = f", meta accuracy {100 * sum(sound) / len(sound):.1f} %" if sound else ""
    new = console.counted(trained, "cell")
    text = f"{folder}: {new} trained, {len(work) - trained} taken from work/{mean}"
    if not failures:
        console.done(stage, text)
        return
    console.say(stage, text)
    for cell, failure in failures.items():
        console.say(stage, f"FAILED {cell.name}: {failure.reason}")
    names = ", ".join(cell.name for cell in failures)
    console.done(stage, f"{len(failures)} of {len(work)} cells FAILED and have no result: {names}")
