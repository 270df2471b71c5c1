"""What a training reads: images, pretrained weights, features."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from longtail.config.benchmarks import Benchmark
from longtail.config.params import DOWNLOAD, Params, read_params
from longtail.data.image_roots import check_paths
from longtail.data.manifests import draw_meta, draw_train, read_manifest
from longtail.data.pools import Pool, read_images, read_pool
from longtail.errors import InputError
from longtail.networks.downloads import fetch_weights
from longtail.pipeline import paths
from longtail.pipeline.finished import differences_line
from longtail.pipeline.subsample import class_counts
from longtail.planning.fingerprints import fingerprint, fingerprint_facts
from longtail.planning.planner import weights_digest
from longtail.planning.plans import BundlePlan, Cell, PlannedTraining
from longtail.running.cell_folders import read_cell, read_failure
from longtail.running.jobs import CellInputs, Job


def find_root(pool: Pool) -> Path:
    """The folder of the images of `pool`. Raises InputError if one is missing.

    It is not part of a plan: the place of the images changes no result, as their content is checked.
    """
    root = read_params().image_root(pool.benchmark)
    assert pool.path is not None
    check_paths(root, pool.path.tolist())
    return root


def with_weights(params: Params, chosen: Benchmark) -> Params:
    """`params` with a file instead of `download`, fetched if needed. Raises InputError."""
    if not chosen.pretrained or params.weights.get(chosen.name) != DOWNLOAD:
        return params

    path = fetch_weights(chosen.networks[0], paths.downloads())
    return params.model_copy(update={"weights": {**params.weights, chosen.name: str(path)}})


def find_weights(plan: BundlePlan) -> Path | None:
    """The weights that the plan's backbone starts from; None: there are none. Raises InputError."""
    if plan.pretrained is None or plan.stage == "retrain":
        return None
    params = read_params()
    path = with_weights(params, params.benchmark(plan.benchmark)).weights_file(plan.benchmark)
    if weights_digest(path) != plan.pretrained:
        raise InputError(path, "changed since the plan was made", "run `dvc repro --force plan`")
    return path


class PoolImages(NamedTuple):
    """What the inputs of all imbalances share; see `CellInputs`."""

    pool: Pool
    images: np.ndarray | Path


def read_inputs(plan: BundlePlan, beside: CellInputs | PoolImages | None = None) -> CellInputs:
    """Pool, images and manifests, checked against each other; train, meta and test are disjoint.

    Pool and images come from `beside`, such as the inputs of another imbalance, if given.
    """
    pool = beside.pool if beside else read_pool(paths.pool(plan.benchmark))
    if beside:
        images = beside.images
    else:
        images = find_root(pool) if pool.path is not None else read_images(paths.images(plan.benchmark), pool)
    train = read_manifest(paths.train_manifest(plan.benchmark, plan.imbalance), "train", pool, plan.imbalance)
    meta = read_manifest(paths.meta_manifest(plan.benchmark, plan.imbalance), "meta", pool, plan.imbalance)
    return CellInputs(pool=pool, images=images, train=train, meta=meta)


def draw_inputs(benchmark: str, imbalance: float, beside: CellInputs | PoolImages) -> CellInputs:
    """As `read_inputs`, with the sets that `subsample` and `extract_meta` will write, whatever is there now.

    Raises InputError if a class has too few images.
    """
    params = read_params()
    chosen = params.benchmark(benchmark).with_meta_per_class(params.meta_per_class)
    counts, _ = class_counts(beside.pool, chosen, imbalance)
    return CellInputs(
        pool=beside.pool,
        images=beside.images,
        train=draw_train(beside.pool, imbalance, counts, chosen.meta_per_class),
        meta=draw_meta(beside.pool, imbalance, chosen.meta_per_class),
    )


def read_all(plans: list[BundlePlan], imbalances: list[float]) -> dict[float, CellInputs]:
    """The images of all cells, by imbalance; pool and images are read once. Raises InputError."""
    inputs: dict[float, CellInputs] = {}
    for imbalance in imbalances:
        plan = next(plan for plan in plans if plan.imbalance == imbalance)
        inputs[imbalance] = read_inputs(plan, next(iter(inputs.values()), None))
    return inputs


def make_job(
    step: PlannedTraining, inputs: CellInputs, weights: Path | None = None, features: Path | None = None
) -> Job:
    """The job of a training, from `weights` if its backbone is pretrained.

    A head is trained on `features`, the folder of a finished training; None: on those in models/. Raises
    InputError if these are not the planned ones.
    """
    plan, cell = step.plan, step.cell
    if cell.head is not None and features is None:
        below = cell.below
        features = paths.model(plan.benchmark, plan.imbalance, below.bundle, below.member)
        failure = read_failure(features)
        found = failure.fingerprint if failure else read_cell(features).fingerprint
        if found != fingerprint(plan, below, inputs.fingerprints):
            why = differences_line(features, fingerprint_facts(plan, below, inputs.fingerprints))
            raise InputError(
                features, f"of another training ({why})", "`dvc repro represent` trains it again"
            )
    # one place whatever the number of ranks: a checkpoint of another number is found, and refused
    alone = fingerprint(plan.model_copy(update={"ranks": 1}), cell, inputs.fingerprints)
    checkpoint = paths.checkpoint(alone)
    return Job(plan, cell, step.fingerprint, features=features, weights=weights, checkpoint=checkpoint)


def features_ranks(cell: Cell) -> int:
    """The number of ranks that trained the features of a head. Raises InputError if there are none."""
    below = cell.below
    folder = paths.model(below.benchmark, below.imbalance, below.bundle, below.member)
    failure = read_failure(folder)
    return failure.ranks if failure else read_cell(folder).ranks
