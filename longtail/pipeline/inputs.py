"""The images of official lists stay files: `prepare` checks and hashes them, trainings read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from longtail.pipeline import paths

if TYPE_CHECKING:
    from longtail.config.benchmarks import Benchmark
    from longtail.config.params import Params
    from longtail.data.pools import Pool
    from longtail.planning.plans import BundlePlan


def find_root(pool: Pool) -> Path:
    """The folder of the images of `pool`, which are all there. Raises InputError.

    It is no part of a plan: where images lie changes no result, for what is read is compared with the pool.
    """
    from longtail.config.params import read_params
    from longtail.data.image_roots import check_paths

    root = read_params().image_root(pool.benchmark)
    assert pool.path is not None
    check_paths(root, pool.path.tolist())
    return root


def with_weights(params: Params, chosen: Benchmark) -> Params:
    """`params` with a file in place of `download`, fetched where it is not there. Raises InputError."""
    from longtail.config.params import DOWNLOAD

    if not chosen.pretrained or params.weights.get(chosen.name) != DOWNLOAD:
        return params
    from longtail.networks.downloads import fetch_weights

    path = fetch_weights(chosen.networks[0], paths.downloads())
    return params.model_copy(update={"weights": {**params.weights, chosen.name: str(path)}})


def find_weights(plan: BundlePlan) -> Path | None:
    """The weights that the plan's backbone starts from; None: there are none. Raises InputError."""
    from longtail.config.params import read_params
    from longtail.errors import InputError
    from longtail.planning.planner import weights_digest

    if plan.pretrained is None or plan.stage == "retrain":
        return None
    params = read_params()
    path = with_weights(params, params.benchmark(plan.benchmark)).weights_file(plan.benchmark)
    if weights_digest(path) != plan.pretrained:
        raise InputError(path, "changed since the plan was made", "`dvc repro --force plan` takes it in")
    return path
