"""Training the cells of a bundle, several at once: what `represent` and `retrain` share."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError
from longtail.plans import BundlePlan, Cell, check_code, read_bundle, read_evaluation, represented
from stages import console, paths
from stages.devices import check_device, choose_device
from stages.listed import find_root, find_weights

if TYPE_CHECKING:
    from longtail.jobs import CellInputs, Job


AHEAD = "LONGTAIL_AHEAD"
"""An environment variable: where it is 1, a stage that trains a variant trains what is open of the others at
its imbalance as well. One start of torch serves all; their stages find the cells in the work folder."""


def read_inputs(plan: BundlePlan) -> CellInputs:
    """Pool, images and manifests, checked against each other; train, meta and test are disjoint."""
    from longtail.jobs import CellInputs
    from longtail.manifests import check_disjoint, read_manifest
    from longtail.pools import read_images, read_pool

    pool = read_pool(paths.pool(plan.benchmark))
    images = find_root(pool) if pool.path is not None else read_images(paths.images(plan.benchmark), pool)
    train = read_manifest(paths.train_manifest(plan.benchmark, plan.imbalance), "train", pool, plan.imbalance)
    meta = read_manifest(paths.meta_manifest(plan.benchmark, plan.imbalance), "meta", pool, plan.imbalance)
    check_disjoint(train.hash, meta.hash, pool.hash[pool.rows("test")], pool.shared)
    return CellInputs(pool=pool, images=images, train=train, meta=meta)


def run_bundle(
    stage: str, benchmark: str, imbalance: float, bundle: str, seeds: list[int], device: str, jobs: int
) -> None:
    """Train what is not trained yet of a bundle, and bring all of it to `models/`.

    A cell whose fingerprint was finished before, by any experiment of this repository, is taken from the
    work folder; one that was begun goes on from its checkpoint.
    """
    check_device(device)
    path = paths.plan(benchmark, imbalance, bundle)
    plan = read_bundle(path)
    if plan.stage != stage:
        raise InputError(f"{path}: a bundle of stage {plan.stage}; run `python -m stages.{plan.stage}`")
    for planned in (plan, *plan.heads.values()):
        check_code(path, planned.code)
    cells = [cell for cell in plan.cells() if not seeds or cell.seed in seeds]
    if not cells:
        raise InputError(f"--seed {' '.join(map(str, seeds))}: not planned; seeds are {plan.seeds}")
    inputs = read_inputs(plan)
    weights = find_weights(plan)
    work = {cell: replace(_job(plan, cell, inputs), weights=weights) for cell in cells}
    open_cells = [cell for cell in cells if not _finished(work[cell]).is_dir()]
    own = [work[cell] for cell in open_cells]
    others = _open_elsewhere(plan, inputs, own) if own and os.environ.get(AHEAD) == "1" else []
    others = [replace(job, weights=weights) for job in others]
    device = choose_device(device) if own else "no device"  # asking for one imports torch
    workers = _workers(jobs, device, len(own) + len(others))
    _announce(stage, plan, inputs, cells, open_cells, device, workers)
    if others:
        console.say(stage, f"{len(others)} cells of other variants are trained ahead of their stages")
    if own:
        changes = {"device": device, "decoders": _decoders(device, workers)}
        own, others = ([replace(job, **changes) for job in part] for part in (own, others))
        _train_all(stage, own, others, inputs, workers)
        console.say(stage, _throughput([_finished(job) for job in own]))
    for cell in cells:
        _bring(cell, _finished(work[cell]))
    accuracies = [_meta_accuracy(_finished(work[cell])) for cell in cells]
    mean = sum(accuracies) / len(accuracies)
    console.done(
        stage,
        f"{paths.bundle_models(benchmark, imbalance, bundle)}: {len(open_cells)} cells trained, "
        f"{len(cells) - len(open_cells)} taken from work/, meta accuracy {100 * mean:.1f} %",
    )


def _job(plan: BundlePlan, cell: Cell, inputs: CellInputs) -> Job:
    from longtail.fingerprints import fingerprint
    from longtail.jobs import Job, read_cell

    mark = fingerprint(plan, cell, inputs.fingerprints)
    features = None
    if cell.head is not None:
        bundle = represented(plan.bundle)
        below = Cell(plan.benchmark, plan.imbalance, bundle, plan.variant, None, cell.seed)
        features = paths.model(plan.benchmark, plan.imbalance, bundle, below.member)
        found, expected = read_cell(features)["fingerprint"], fingerprint(plan, below, inputs.fingerprints)
        if found != expected:
            raise InputError(
                f"{features}: fingerprint {found[:12]}, expected {expected[:12]}: trained with other "
                f"settings, images or code; `dvc repro represent` trains these features anew"
            )
    checkpoint = paths.work() / mark / "checkpoint.pt"
    return Job(plan, cell, mark, features=features, checkpoint=checkpoint)


def _open_elsewhere(plan: BundlePlan, inputs: CellInputs, own: list[Job]) -> list[Job]:
    """What is not trained yet of the other variants at the plan's imbalance, each training once."""
    found = {job.fingerprint: job for job in own}
    evaluation = read_evaluation(paths.evaluation_plan(plan.benchmark, plan.imbalance))
    for planned in evaluation.bundles if plan.stage == "represent" else []:
        path = paths.plan(plan.benchmark, plan.imbalance, planned.bundle)
        other = read_bundle(path)
        # another network may start from other weights; its stages will find them
        if other.stage == "represent" and other.network == plan.network:
            check_code(path, other.code)
            for job in (_job(other, cell, inputs) for cell in other.cells()):
                if not _finished(job).is_dir():
                    found.setdefault(job.fingerprint, job)
    return list(found.values())[len(own) :]


def _finished(job: Job) -> Path:
    return paths.work() / job.fingerprint / "finished"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(jobs: int, device: str, cells: int) -> int:
    # three seeds on two cores finish together in 1.5 times the time of one, not in twice that
    limit = jobs or (1 if device == "cuda" else 2 * _cores())
    return max(1, min(limit, cells))


def _decoders(device: str, workers: int) -> int:
    """Processes a cell that decode images beside its training: on a CPU none, which the step itself fills."""
    return max(1, (_cores() - 1) // workers) if device == "cuda" else 0


def _throughput(folders: list[Path]) -> str:
    """What the cells waited for, as means over them."""
    import json

    timings = [json.loads((folder / "timing.json").read_text(encoding="utf-8")) for folder in folders]
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
    stage: str,
    plan: BundlePlan,
    inputs: CellInputs,
    cells: list[Cell],
    open_cells: list[Cell],
    device: str,
    workers: int,
) -> None:
    counts = inputs.train.counts
    trainings = [head.training for head in plan.heads.values()] if plan.heads else [plan.training]
    iterations = "/".join(str(n) for n in sorted({training.iterations for training in trainings}))
    console.say(
        stage,
        f"{plan.benchmark} imb{plan.imbalance:g} {plan.bundle}: {sum(counts)} images, {len(counts)} classes, "
        f"n_max {max(counts)}, n_min {min(counts)}, meta {len(inputs.meta.label)}",
    )
    console.say(
        stage,
        f"{len(cells)} cells ({len(open_cells)} to train) x {iterations} iterations of "
        f"{trainings[0].batch_size}, {plan.network} on {device}, {workers} at once",
    )


_inherited: dict[str, Any] = {}
"""What worker processes get when they start: the images, and the counter of iterations done."""


def _start_worker(inputs: CellInputs, counter: Any) -> None:
    import torch

    # whatever the number of workers: threads decide the order of sums, and so the last digits
    torch.set_num_threads(1)
    _inherited.update(inputs=inputs, counter=counter)


def _train_in_worker(job: Job) -> None:
    counter = _inherited["counter"]

    def tick() -> None:
        with counter.get_lock():
            counter.value += 1

    _train(job, _inherited["inputs"], tick)


def _train(job: Job, inputs: CellInputs, tick: Callable[[], None]) -> None:
    from longtail.cells import train_cell

    finished = _finished(job)
    partial = finished.with_name(f"partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    train_cell(job, inputs, partial, after_iteration=tick)
    try:
        partial.rename(finished)
    except OSError:  # another experiment finished the same cell meanwhile, with the same result
        shutil.rmtree(partial)
    if job.checkpoint is not None:
        job.checkpoint.unlink(missing_ok=True)


def _train_all(stage: str, own: list[Job], others: list[Job], inputs: CellInputs, workers: int) -> None:
    """Train all jobs. Raises what one of `own` raised; one of `others` will say it in its own stage."""
    from longtail.meta_gradient import load_forward_mode
    from longtail.methods import find_method

    jobs = [*own, *others]
    if any(find_method(job.method).uses_meta_batch for job in jobs):
        load_forward_mode()  # once here, not in every worker
    total = sum(job.training.iterations for job in jobs)
    # forked workers share torch and the images with this process, which never computes by itself
    fork = hasattr(os, "fork") and sys.platform == "linux" and jobs[0].device == "cpu"
    context = multiprocessing.get_context("fork" if fork else "spawn")
    counter = context.Value("L", 0)
    with (
        console.progress(stage, total, "iterations") as shown,
        ProcessPoolExecutor(workers, context, _start_worker, (inputs, counter)) as pool,
    ):
        needed = {pool.submit(_train_in_worker, job) for job in own}
        running = needed | {pool.submit(_train_in_worker, job) for job in others}
        while running:
            done, running = wait(running, timeout=0.25, return_when=FIRST_EXCEPTION)
            shown.reach(counter.value)
            for future in done & needed:
                future.result()


def _bring(cell: Cell, finished: Path) -> None:
    """Copy a finished training to the cell's place, under the cell's name, whole or not at all."""
    from longtail.atomic import write_json
    from longtail.jobs import read_cell

    target = paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(finished, partial)
    names = {"cell": cell.name, "variant": cell.variant}
    write_json(partial / "cell.json", {**read_cell(finished), **names})
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _meta_accuracy(directory: Path) -> float:
    from longtail.histories import read_history

    return read_history(directory / "history.parquet")["meta_accuracy"][-1].as_py()
