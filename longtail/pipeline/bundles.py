"""Training the cells of bundles: what `represent` and `retrain` share."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.errors import InputError
from longtail.pipeline import console, paths
from longtail.pipeline.ahead import is_wanted, open_trainings
from longtail.pipeline.cluster.addresses import CLUSTER, INSECURE
from longtail.pipeline.devices import choose_device, decoder_count, worker_count
from longtail.pipeline.finished import (
    adopt,
    check_finished,
    fail_head,
    is_sound,
    keep_only,
    meta_accuracy,
    publish,
)
from longtail.pipeline.inputs import features_ranks, find_weights, make_job, read_inputs
from longtail.pipeline.ranks import RankedTrainings, joined
from longtail.pipeline.remedies import remedies
from longtail.planning.fingerprints import fingerprint
from longtail.planning.planner import remarks
from longtail.planning.plans import BundlePlan, Cell, check_code, read_bundle, read_stage
from longtail.running.cell_folders import read_failure
from longtail.running.programme import Step

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job
    from longtail.training.ranks import Ranks


@remedies()
def run_bundles(
    stage: str, benchmark: str, imbalance: float, names: list[str], seeds: list[int], device: str, jobs: int
) -> None:
    """`train_bundles` of those with these `names`, by default of all that `stage` has at an imbalance.

    In this process, or as one of torchrun's ranks. Raises InputError.
    """
    chosen = names or read_stage(paths.stage_plan(benchmark, imbalance, stage)).bundles
    by_network: dict[str, list[BundlePlan]] = {}
    for name in chosen:
        path = paths.plan(benchmark, imbalance, name)
        plan = read_bundle(path)
        if plan.stage != stage:
            raise InputError(path, f"a bundle of stage {plan.stage}", f"run `python -m stages.{plan.stage}`")
        by_network.setdefault(plan.network, []).append(plan)
    with joined(device) as ranks:
        for plans in by_network.values():
            train_bundles(stage, plans, seeds, device, jobs, ranks)
        if not names and not seeds and ranks.rank == 0:
            folder = paths.stage_models(benchmark, imbalance, stage)
            folder.mkdir(parents=True, exist_ok=True)
            keep_only(folder, chosen)
    if not chosen:
        console.done(stage, f"{benchmark} imb{imbalance:g}: nothing planned")


def train_bundles(
    stage: str, plans: Sequence[BundlePlan], seeds: list[int], device: str, jobs: int, ranks: Ranks
) -> None:
    """Train the open cells of bundles of one imbalance and network, and publish all their cells to `models/`.

    A cell whose fingerprint any experiment of this repository has finished comes from the work folder, or
    from `models/` itself; a training that was interrupted resumes from its checkpoint. Ranks train one cell
    after the other together.
    """
    plan = plans[0].model_copy(update={"ranks": ranks.size})
    imbalance = plan.imbalance
    planned = {cell: own for own in plans for cell in own.cells() if not seeds or cell.seed in seeds}
    if not planned:
        given = " ".join(map(str, seeds))
        raise InputError(f"--seed {given}", "not planned", f"seeds are {plan.seeds}")
    inputs = read_inputs(plan)
    weights = find_weights(plan)
    steps = {cell: _step(own, cell, inputs, ranks.size) for cell, own in planned.items()}
    work = {cell: make_job(step, inputs, weights) for cell, step in steps.items()}
    for job in work.values() if ranks.rank == 0 else ():
        below = read_failure(job.features) if job.features is not None else None
        if not _finished(job).is_dir():
            adopt(job.cell, job.fingerprint)
        if below is not None and not _finished(job).is_dir():
            fail_head(job, below)
        if _finished(job).is_dir():
            check_finished(stage, job, inputs)
    ranks.largest(0)  # by now rank 0 has looked at them
    # by fingerprint, since two variants can come to the same training
    own = {job.fingerprint: cell for cell, job in work.items() if not _finished(job).is_dir()}
    for open_plan in {planned[cell].bundle: planned[cell] for cell in own.values()}.values():
        for training in (open_plan, *open_plan.heads.values()):
            check_code(paths.plan(plan.benchmark, imbalance, open_plan.bundle), training.code)
    cluster = None
    if own and ranks.size == 1 and (address := os.environ.get(CLUSTER)):
        from longtail.pipeline.cluster.executor import Cluster

        cluster = Cluster(stage, address, os.environ.get(INSECURE) == "1", inputs, device, jobs)
    ahead, images = [], {imbalance: inputs}
    if own and ranks.size == 1 and (cluster or is_wanted()):
        ahead, images = open_trainings(plan, inputs, own)
    if cluster:
        device, workers = cluster.kind, cluster.workers
    else:
        device = choose_device(device) if own else ""  # choosing one imports torch
        workers = worker_count(jobs, device, len(own) + len(ahead)) if ranks.size == 1 else 1
    together = f"{workers} at once" if ranks.size == 1 else f"{ranks.size} ranks together"
    _announce(stage, plans, inputs, len(work), len(own), f" on {device}, {together}" if own else "")
    if ahead:
        console.say(stage, f"{len(ahead)} cells of other stages are trained ahead of them")
    if own:
        from longtail.pipeline.scheduler import train
        from longtail.pipeline.workers import Workers

        trained = [*(steps[cell] for cell in own.values()), *ahead]
        beside = int(os.environ["LOCAL_WORLD_SIZE"]) if ranks.size > 1 else workers
        changes = {"device": device, "decoders": decoder_count(device, beside)}
        methods = {step.method for step in trained}

        def job_of(step: Step) -> Job:
            features = None if step.features is None else paths.finished(step.features)
            return replace(make_job(step, images[step.cell.imbalance], weights, features), **changes)

        if cluster is not None:
            executor = cluster
        elif ranks.size > 1:
            executor = RankedTrainings(ranks, device, images)
        else:
            executor = Workers(workers, len(trained), device, methods, images)
        train(
            stage,
            trained,
            job_of,
            executor,
            sound={step.features for step in ahead if step.features and is_sound(step.features)},
            optional={step.fingerprint for step in ahead},
        )
        console.say(stage, _throughput([paths.finished(mark) for mark in own]))
    for cell, job in work.items() if ranks.rank == 0 else ():
        publish(planned[cell], cell, _finished(job))
    for whole in plans if ranks.rank == 0 and not seeds else ():
        members = {cell.member for cell in whole.cells()}
        keep_only(paths.bundle_models(plan.benchmark, imbalance, whole.bundle), members)
    folder = paths.bundle_models(plan.benchmark, imbalance, plan.bundle)
    _conclude(stage, folder if len(plans) == 1 else folder.parent, work, len(own))


def _step(plan: BundlePlan, cell: Cell, inputs: CellInputs, ranks: int) -> Step:
    plan = plan.model_copy(update={"ranks": ranks})
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
    stage: str, plans: Sequence[BundlePlan], inputs: CellInputs, cells: int, to_train: int, where: str
) -> None:
    counts, plan = inputs.train.counts, plans[0]
    heads = [head.training for own in plans for head in own.heads.values()]
    trainings = heads or [own.training for own in plans]
    iterations = "/".join(str(n) for n in sorted({training.iterations for training in trainings}))
    name = f" {plan.bundle}" if len(plans) == 1 else f", {len(plans)} bundles"
    console.say(
        stage,
        f"{plan.benchmark} imb{plan.imbalance:g}{name}: {sum(counts)} images, {len(counts)} classes, "
        f"n_max {max(counts)}, n_min {min(counts)}, meta {len(inputs.meta.label)}",
    )
    for remark in dict.fromkeys(remark for own in plans for remark in remarks(own, counts)):
        console.say(stage, remark)
    console.say(
        stage,
        f"{console.counted(cells, 'cell')} ({to_train} to train) x {iterations} iterations of "
        f"{trainings[0].batch_size}, {plan.network}{where}",
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
