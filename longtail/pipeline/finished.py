"""Finished trainings in the work folder: checking them, and copying them to the places of their cells."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from longtail.errors import InputError, and_more
from longtail.files import move_whole, own_temporary, remove_leftovers
from longtail.pipeline import console, paths
from longtail.pipeline.evaluate import write_report
from longtail.pipeline.remedies import remedies
from longtail.planning.fingerprints import differences, recipe
from longtail.planning.plans import BundlePlan, Cell, PlannedTraining, ShotGroupsPlan
from longtail.reporting.evaluation import report_on
from longtail.running.cell_folders import (
    FAILED,
    HISTORY,
    Failure,
    damaged,
    read_cell,
    read_failure,
    read_fingerprint_facts,
    write_cell_record,
)
from longtail.running.cell_record import CellRecord
from longtail.running.jobs import CellInputs, Job
from longtail.training.histories import read_history


def is_sound(fingerprint: str) -> bool:
    """Whether a training is finished and did not fail."""
    folder = paths.finished(fingerprint)
    return folder.is_dir() and not (folder / FAILED).is_file()


def training_seconds(folder: Path) -> float:
    """The duration of the finished training in `folder`."""
    return json.loads((folder / "timing.json").read_text(encoding="utf-8"))["seconds"]


def meta_accuracy(folder: Path) -> float:
    """The meta accuracy of the last epoch, 0..1, of the cell in `folder`."""
    return read_history(folder / HISTORY)["meta_accuracy"][-1].as_py()


def fail_head(head: PlannedTraining, below: Failure) -> Failure:
    """Record that a head failed because its features did."""
    finished = paths.finished(head.fingerprint)
    partial = own_temporary(finished)
    failure = Failure(head.fingerprint, f"its features failed: {below.reason}", 0, head.plan.network)
    failure.write(partial)
    move_whole(partial, finished)
    return failure


def check_finished(stage: str, job: Job, inputs: CellInputs) -> None:
    """Remove a finished training with a damaged file, so that it runs again, and say so.

    Raises InputError if it is another training.
    """
    folder = paths.finished(job.fingerprint)
    failure = read_failure(folder)
    broken = [] if failure else damaged(folder)
    if broken:
        console.say(stage, f"warning: {folder}: {', '.join(broken)} damaged; training the cell again")
        shutil.rmtree(folder)
        return
    found = failure.fingerprint if failure else read_cell(folder).fingerprint
    if found != job.fingerprint:
        why = differences_line(folder, job.facts(inputs))
        raise InputError(
            folder, f"of another training ({why})", f"delete {folder.parent} to train the cell again"
        )


def differences_line(folder: Path, expected: dict[str, object]) -> str:
    """How the training in `folder` differs from the `expected` facts, in one line."""
    found = read_fingerprint_facts(folder)
    reasons = differences(found, expected) if found else []
    return and_more(reasons, 3, "; ") if reasons else "the difference is not recorded"


def adopt(cell: Cell, fingerprint: str) -> None:
    """Take a training that the work folder lacks from the place of its cell, if it is there.

    So it is in a clone that pulled its results.
    """
    place = paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    try:
        record = read_cell(place)
    except InputError:
        return
    if record.fingerprint != fingerprint or damaged(place):
        return
    partial = own_temporary(paths.finished(fingerprint))
    shutil.copytree(place, partial)
    nameless = record.model_dump(exclude={"cell", "variant", "recipe"}, exclude_unset=True)
    write_cell_record(partial, CellRecord.model_validate(nameless))
    move_whole(partial, paths.finished(fingerprint))


def publish(plan: BundlePlan, cell: Cell, finished: Path) -> None:
    """Copy a finished training to the place of the cell, under its name, whole or not at all.

    One that is there already stays, so that DVC need not hash it again.
    """
    target = paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    names = {"cell": cell.name, "variant": cell.variant, "recipe": recipe(plan, cell)}
    failure = read_failure(finished)
    record = None if failure else read_cell(finished).model_copy(update=names)
    if record and not damaged(target) and read_cell(target) == record:
        return
    partial = own_temporary(target)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(finished, partial)
    if failure:
        failure.write(partial, **names)
    elif record:
        write_cell_record(partial, record)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def keep_only(folder: Path, planned: Collection[str]) -> None:
    """Remove from `folder` the bundles, or the members of a bundle, that an earlier plan left there."""
    for path in folder.iterdir():
        if path.is_dir() and path.name not in planned and not path.name.startswith("."):
            shutil.rmtree(path)


@remedies("run `dvc repro`")
def publish_and_report(plan: BundlePlan, cell: Cell, finished: Path, groups: ShotGroupsPlan) -> None:
    """`publish`, and write the report of the cell."""
    publish(plan, cell, finished)
    folder = paths.model(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    write_report(cell, report_on(folder, cell, groups))
