"""The images of official lists stay files: `prepare` checks and hashes them, trainings read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from stages import console, paths

if TYPE_CHECKING:
    from longtail.benchmarks import Benchmark
    from longtail.params import Params
    from longtail.plans import BundlePlan
    from longtail.pools import Pool


def prepare_listed(chosen: Benchmark, params: Params, verify: bool) -> None:
    """Write data/<benchmark>/pool.parquet. Raises InputError where an image is missing or cannot be used."""
    from longtail.errors import InputError
    from longtail.image_files import shown
    from longtail.pools import without_duplicates, write_pool
    from longtail.sources.listed import content_hashes, find_listed, listed_pool

    assert chosen.totals is not None
    root = params.image_root(chosen.name)
    folder = params.list_folder(chosen.name)
    if params.split == "file_order":
        raise InputError(
            f"params.yaml: split: file_order: the lists of {chosen.name} say themselves which images train; "
            f"write `split: content`"
        )
    lists = find_listed(folder, root, chosen.totals)
    sizes = [len(part.path) for part in lists.sets]
    console.say(
        "prepare",
        f"{chosen.name}: lists in {shown(folder)}: {sizes[0]} training, {sizes[1]} val and {sizes[2]} test "
        f"images of {len(lists.counts)} classes, n_max {lists.counts[0]}, n_min {lists.counts[-1]}; all are "
        f"below {shown(root)}" + (", without class folders in val" if lists.flat_val else ""),
    )
    if verify:
        _verify([file for part in lists.sets for file in part.files], root)
    with console.progress("prepare", sum(sizes), "images") as progress:
        hashes = content_hashes(lists, progress.reach)
    pool = listed_pool(
        lists,
        hashes,
        benchmark=chosen.name,
        data_seed=params.data_seed,
        image_shape=chosen.image_shape,
    )
    if len(pool.shared):
        from stages.prepare import duplicates_line

        console.say("prepare", duplicates_line(pool, params.duplicates))
    if params.duplicates == "exclude":
        pool = without_duplicates(pool)
    write_pool(paths.pool(chosen.name), pool)
    counts = ", ".join(f"{len(pool.rows(split))} {split}" for split in ("source", "val", "test"))
    console.done("prepare", f"{counts} images (pool {pool.fingerprint[:12]})")


def _verify(files: list[Path], root: Path) -> None:
    """Decode all images. Raises InputError with the number of bad ones and the first five."""
    from longtail.image_roots import verify
    from longtail.sources.listed import check_decoded

    with console.progress("prepare", len(files), "images decoded") as progress:
        bad = verify(files, os.cpu_count() or 1, progress.reach)
    check_decoded(root, bad, len(files))


def find_root(pool: Pool) -> Path:
    """The folder of the images of `pool`, which are all there. Raises InputError.

    It is no part of a plan: where images lie changes no result, for what is read is compared with the pool.
    """
    from longtail.image_roots import check_paths
    from longtail.params import read_params

    root = read_params().image_root(pool.benchmark)
    assert pool.path is not None
    check_paths(root, pool.path.tolist())
    return root


def with_weights(params: Params, chosen: Benchmark) -> Params:
    """`params` with a file in place of `download`, fetched where it is not there. Raises InputError."""
    from longtail.params import DOWNLOAD

    if not chosen.pretrained or params.weights.get(chosen.name) != DOWNLOAD:
        return params
    from longtail.downloads import fetch_weights

    path = fetch_weights(chosen.networks[0], paths.downloads())
    return params.model_copy(update={"weights": {**params.weights, chosen.name: str(path)}})


def find_weights(plan: BundlePlan) -> Path | None:
    """The weights that the plan's backbone starts from; None: there are none. Raises InputError."""
    from longtail.errors import InputError
    from longtail.params import read_params
    from longtail.plans import weights_digest

    if plan.pretrained is None or plan.stage == "retrain":
        return None
    params = read_params()
    path = with_weights(params, params.benchmark(plan.benchmark)).weights_file(plan.benchmark)
    if weights_digest(path) != plan.pretrained:
        raise InputError(f"{path}: changed since the plan was made; `dvc repro --force plan` takes it in")
    return path
