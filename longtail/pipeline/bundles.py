"""Training the cells of a bundle, several at once: what `represent` and `retrain` share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.errors import InputError
from longtail.pipeline import console, paths
from longtail.pipeline.devices import check_device, choose_device
from longtail.pipeline.inputs import find_root, find_weights
from longtail.planning.plans import BundlePlan, Cell, check_code, read_bundle, read_evaluation

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job


AHEAD = "LONGTAIL_AHEAD"
"""An environment variable: where it is 1, a stage that trains a variant trains what is open of the others at
its imbalance as well. One start of torch serves all; their stages find the cells in the work folder."""


def read_inputs(plan: BundlePlan, beside: CellInputs | None = None) -> CellInputs:
    """Pool, images and manifests, checked against each other; train, meta and test are disjoint.

    Pool and images are those of `beside`, where such of another imbalance were read before.
    """
    from longtail.data.manifests import read_manifest
    from longtail.data.pools import read_images, read_pool
    from longtail.running.jobs import CellInputs

    pool = beside.pool if beside else read_pool(paths.pool(plan.benchmark))
    if beside:
        images = beside.images
    else:
        images = find_root(pool) if pool.path is not None else read_images(paths.images(plan.benchmark), pool)
    train = read_manifest(paths.train_manifest(plan.benchmark, plan.imbalance), "train", pool, plan.imbalance)
    meta = read_manifest(paths.meta_manifest(plan.benchmark, plan.imbalance), "meta", pool, plan.imbalance)
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
        raise InputError(path, f"a bundle of stage {plan.stage}", f"run `python -m stages.{plan.stage}`")
    for planned in (plan, *plan.heads.values()):
        check_code(path, planned.code)
    cells = [cell for cell in plan.cells() if not seeds or cell.seed in seeds]
    if not cells:
        raise InputError(f"--seed {' '.join(map(str, seeds))}", "not planned", f"seeds are {plan.seeds}")
    inputs = read_inputs(plan)
    weights = find_weights(plan)
    work = {cell: make_job(plan, cell, inputs, weights) for cell in cells}
    fail_heads(work.values())
    for cell in cells:
        if _finished(work[cell]).is_dir():
            check_finished(stage, work[cell], inputs)
    open_cells = [cell for cell in cells if not _finished(work[cell]).is_dir()]
    own = [work[cell] for cell in open_cells]
    others = _open_elsewhere(plan, inputs, own, weights) if own and os.environ.get(AHEAD) == "1" else []
    device = choose_device(device) if own else "no device"  # asking for one imports torch
    workers = _workers(jobs, device, len(own) + len(others))
    _announce(stage, plan, inputs, cells, open_cells, device, workers)
    if others:
        console.say(stage, f"{len(others)} cells of other variants are trained ahead of their stages")
    if own:
        from longtail.pipeline.workers import train_all

        changes = {"device": device, "decoders": decoders(device, workers)}
        open_jobs = [(replace(job, **changes), _finished(job)) for job in (*own, *others)]
        train_all(stage, open_jobs, len(own), inputs, workers)
        console.say(stage, _throughput([_finished(job) for job in own]))
    for cell in cells:
        bring(plan, cell, _finished(work[cell]))
    _conclude(stage, paths.bundle_models(benchmark, imbalance, bundle), work, len(open_cells))


def make_job(plan: BundlePlan, cell: Cell, inputs: CellInputs, weights: Path | None = None) -> Job:
    """What trains `cell`, from `weights` where its backbone is pretrained.

    Raises InputError where the features below a head are not the planned ones.
    """
    from longtail.planning.fingerprints import differences, fingerprint, fingerprint_facts
    from longtail.running.cell_folders import read_cell, read_facts, read_failure
    from longtail.running.jobs import Job

    mark = fingerprint(plan, cell, inputs.fingerprints)
    features = None
    if cell.head is not None:
        below = cell.below
        features = paths.model(plan.benchmark, plan.imbalance, below.bundle, below.member)
        failure = read_failure(features)
        found = failure.fingerprint if failure else read_cell(features).get("fingerprint")
        if found != fingerprint(plan, below, inputs.fingerprints):
            facts = fingerprint_facts(plan, below, inputs.fingerprints)
            reasons = differences(read_facts(features), facts) if read_facts(features) else []
            raise InputError(
                features,
                f"of another training ({_told(reasons)})",
                "`dvc repro represent` trains these features anew",
            )
    return Job(plan, cell, mark, features=features, weights=weights, checkpoint=paths.checkpoint(mark))


def _open_elsewhere(plan: BundlePlan, inputs: CellInputs, own: list[Job], weights: Path | None) -> list[Job]:
    """What is not trained yet of the other variants at the plan's imbalance, each training once."""
    found = {job.fingerprint: job for job in own}
    evaluation = read_evaluation(paths.evaluation_plan(plan.benchmark, plan.imbalance))
    for planned in evaluation.bundles if plan.stage == "represent" else []:
        path = paths.plan(plan.benchmark, plan.imbalance, planned.bundle)
        other = read_bundle(path)
        # another network may start from other weights; its stages will find them
        if other.stage == "represent" and other.network == plan.network:
            check_code(path, other.code)
            for job in (make_job(other, cell, inputs, weights) for cell in other.cells()):
                if not _finished(job).is_dir():
                    found.setdefault(job.fingerprint, job)
    return list(found.values())[len(own) :]


def _finished(job: Job) -> Path:
    return paths.finished(job.fingerprint)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(jobs: int, device: str, cells: int) -> int:
    # three seeds on two cores finish together in 1.5 times the time of one, not in twice that
    limit = jobs or (1 if device == "cuda" else 2 * cores())
    return max(1, min(limit, cells))


def decoders(device: str, workers: int) -> int:
    """Processes a cell that decode images beside its training: on a CPU none, which the step itself fills."""
    return max(1, (cores() - 1) // workers) if device == "cuda" else 0


def _throughput(folders: list[Path]) -> str:
    """What the cells waited for, as means over them."""
    import json

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
        f"{console.counted(len(cells), 'cell')} ({len(open_cells)} to train) x {iterations} iterations of "
        f"{trainings[0].batch_size}, {plan.network} on {device}, {workers} at once",
    )


def fail_heads(jobs: Iterable[Job]) -> None:
    """A head whose features failed has failed."""
    from longtail.files import own_temporary
    from longtail.pipeline.workers import move_whole
    from longtail.running.cell_folders import Failure, read_failure

    for job in jobs:
        below = read_failure(job.features) if job.features is not None else None
        if below is not None and not _finished(job).is_dir():
            partial = own_temporary(_finished(job))
            reason = f"its features failed: {below.reason}"
            Failure(job.fingerprint, reason, 0, job.plan.network).write(partial)
            move_whole(partial, _finished(job))


def check_finished(stage: str, job: Job, inputs: CellInputs) -> None:
    """Remove a finished cell of which a file was damaged since, with a word, so that it is trained anew.

    Raises InputError where it is of another training.
    """
    from longtail.planning.fingerprints import differences
    from longtail.running.cell_folders import damaged, read_cell, read_facts, read_failure

    folder = _finished(job)
    failure = read_failure(folder)
    broken = [] if failure else damaged(folder)
    if broken:
        console.say(stage, f"warning: {folder}: {', '.join(broken)} damaged; the cell is trained anew")
        shutil.rmtree(folder)
        return
    found = failure.fingerprint if failure else read_cell(folder).get("fingerprint")
    if found != job.fingerprint:
        reasons = differences(read_facts(folder), job.facts(inputs)) if read_facts(folder) else []
        raise InputError(
            folder,
            f"of another training ({_told(reasons)})",
            f"delete {folder.parent}, then the cell is trained anew",
        )


def _told(reasons: list[str]) -> str:
    """Differences in one line."""
    if not reasons:
        return "it does not say in what it differs"
    return "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def bring(plan: BundlePlan, cell: Cell, finished: Path) -> None:
    """Copy a finished training to the cell's place, under the cell's name, whole or not at all."""
    from longtail.files import own_temporary, remove_leftovers, write_json
    from longtail.planning.fingerprints import recipe
    from longtail.running.cell_folders import read_cell, read_failure

    target = paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    partial = own_temporary(target)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(finished, partial)
    names = {"cell": cell.name, "variant": cell.variant, "recipe": recipe(plan, cell)}
    failure = read_failure(finished)
    if failure is not None:
        failure.write(partial, **names)
    else:
        write_json(partial / "cell.json", {**read_cell(finished), **names})
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _conclude(stage: str, folder: Path, work: dict[Cell, Job], trained: int) -> None:
    """The last lines: how good the cells are, and which of them failed."""
    from longtail.running.cell_folders import read_failure

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


def meta_accuracy(directory: Path) -> float:
    """That of the last epoch, 0..1, of the cell in `directory`."""
    from longtail.training.histories import read_history

    return read_history(directory / "history.parquet")["meta_accuracy"][-1].as_py()
