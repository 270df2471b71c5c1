"""The pool of official lists, whose images stay files."""

import os
from pathlib import Path

from longtail.config.benchmarks import Benchmark
from longtail.config.params import Params
from longtail.data.conflicts import conflicting, conflicts_text
from longtail.data.image_roots import verify
from longtail.data.pools import duplicates_line, without_duplicates, write_pool
from longtail.data.sources.listed import check_decoded, content_hashes, find_listed, listed_pool
from longtail.errors import InputError, shown
from longtail.pipeline import console, paths


def prepare_lists(chosen: Benchmark, params: Params, verify: bool) -> None:
    """Write data/<benchmark>/pool.parquet. Raises InputError if an image is missing or cannot be used."""
    assert chosen.totals is not None
    root = params.image_root(chosen.name)
    folder = params.list_folder(chosen.name)
    if params.split == "file_order":
        raise InputError(
            "params.yaml",
            f"split: file_order: the lists of {chosen.name} already say which images train",
            "write `split: content`",
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
        lists, hashes, benchmark=chosen.name, data_seed=params.data_seed, image_shape=chosen.image_shape
    )
    assert pool.path is not None
    files = pool.path
    if conflicting(pool.hash, pool.label).any():
        text = conflicts_text(pool.hash, pool.label, pool.class_names, lambda row: shown(str(files[row])))
        console.say("prepare", f"{text}; all are kept, as in the lists")
    if len(pool.shared):
        console.say("prepare", duplicates_line(pool, params.duplicates))
    if params.duplicates == "exclude":
        pool = without_duplicates(pool)
    write_pool(paths.pool(chosen.name), pool)
    counts = ", ".join(f"{len(pool.rows(split))} {split}" for split in ("source", "val", "test"))
    console.done("prepare", f"{counts} images (pool {pool.fingerprint[:12]})")


def _verify(files: list[Path], root: Path) -> None:
    """Decode all images. Raises InputError with the number of bad ones and the first five."""
    with console.progress("prepare", len(files), "images decoded") as progress:
        bad = verify(files, os.cpu_count() or 1, progress.reach)
    check_decoded(root, bad, len(files))
