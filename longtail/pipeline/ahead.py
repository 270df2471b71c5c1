"""Trainings that the first training stage of a `dvc repro` runs for the stages that follow it.

All share one start of torch and one pool of workers; their stages find the cells in `work/`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.errors import InputError
from longtail.pipeline import paths
from longtail.pipeline.finished import adopt, is_sound
from longtail.pipeline.inputs import draw_inputs
from longtail.pipeline.parents import dvc_command
from longtail.planning.fingerprints import fingerprint
from longtail.planning.plans import BundlePlan, check_code, read_bundle, read_evaluation, read_tables_plan
from longtail.running.programme import Step

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs

AHEAD = "LONGTAIL_AHEAD"
"""An environment variable: 1: train ahead; 0: do not; unset: if dvc was asked for a whole pipeline."""

ALONE = {"--wait-for-lock", "-f", "--force", "-v", "--verbose", "-q", "--quiet", "-k", "--keep-going"}
"""Options of dvc that do not limit what it runs."""
VALUED = {"-S", "--set-param", "-n", "--name", "-m", "--message"}
"""The same, with a value; `--name=value` too."""


def is_wanted() -> bool:
    """Whether this stage should train ahead."""
    asked = os.environ.get(AHEAD)
    return asked == "1" if asked else names_no_stage(dvc_command())


def names_no_stage(command: Sequence[str] | None) -> bool:
    """Whether the words after `dvc` run a whole pipeline, with every stage that has changed.

    Options unknown here could limit it, so they count as if they did. The runner of `dvc exp run --temp` and
    `--queue` keeps what it was asked for in a file.
    """
    words = [word for word in command or () if word not in ALONE]
    start = 1 if words[:1] == ["repro"] else 2 if words[:2] == ["exp", "run"] else None
    if start is None:
        return False
    rest = iter(words[start:])
    for word in rest:
        if word in VALUED:
            next(rest, None)
        elif word.partition("=")[0] not in VALUED and Path(word).name != "dvc.yaml":
            return False
    return True


def open_trainings(
    plan: BundlePlan, inputs: CellInputs, own: Collection[str]
) -> tuple[list[Step], dict[float, CellInputs]]:
    """Open trainings of the plan's network beside its stage's `own` (fingerprints), and images by imbalance.

    Each once, those at the plan's imbalance first, heads behind all networks; a head only where its features
    are sound, or among the networks.
    """
    images = {plan.imbalance: inputs}
    planned = read_tables_plan(paths.tables_plan(plan.benchmark)).imbalances
    for imbalance in planned:
        try:
            images.setdefault(imbalance, draw_inputs(plan.benchmark, imbalance, inputs))
        except InputError:
            continue  # its own stages say so
    found: dict[str, Step] = {}
    plans = [other for imbalance in images for other in _plans(plan, imbalance)]
    for other in sorted(plans, key=lambda other: other.stage == "retrain"):
        data = images[other.imbalance].fingerprints
        for cell in other.cells():
            mark = fingerprint(other, cell, data)
            features = fingerprint(other, cell.below, data) if cell.head else None
            if not paths.finished(mark).is_dir():
                adopt(cell, mark)
            there = features is None or features in found or features in own or is_sound(features)
            if there and mark not in own and not paths.finished(mark).is_dir():
                found.setdefault(mark, Step(other, cell, mark, features))
    return list(found.values()), images


def _plans(plan: BundlePlan, imbalance: float) -> list[BundlePlan]:
    """The bundles at an imbalance with the plan's network: another may start from other weights."""
    evaluation = read_evaluation(paths.evaluation_plan(plan.benchmark, imbalance))
    found = []
    for planned in evaluation.bundles:
        path = paths.plan(plan.benchmark, imbalance, planned.bundle)
        other = read_bundle(path)
        if other.network == plan.network and (other.stage, plan.stage) != ("represent", "retrain"):
            for part in (other, *other.heads.values()):
                check_code(path, part.code)
            found.append(other)
    return found
