"""Gather all images of a benchmark in its pool, and set the test images apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longtail.errors import InputError
from longtail.pipeline import console, paths

if TYPE_CHECKING:
    from longtail.config.benchmarks import Benchmark
    from longtail.config.params import Params
    from longtail.data.pools import Pool
    from longtail.data.sources.own import OwnImages

SHOWN = 3
"""How many duplicates are shown."""


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode the images of official lists, which stay files, too.")
    ] = False,
) -> None:
    """Write data/<benchmark>/pool.parquet and images.npy: every image, its class, content hash and split.

    Images of official lists stay files, and the pool says where they lie.
    """
    from longtail.config.params import read_params

    params = read_params()
    chosen = params.benchmark(benchmark)
    if chosen.source == "listed":
        prepare_listed(chosen, params, verify)
        return
    if verify:
        raise InputError(f"--verify: all images of {benchmark} are decoded anyway; leave it out")

    import numpy as np

    from longtail.data.pools import arranged, draw_pool, without_duplicates, write_pool
    from longtail.data.sources import SOURCES
    from longtail.files import atomic_path

    if chosen.source == "own":
        reader = _find_own(chosen, params)
        origin = params.images[benchmark]
    else:
        reader = SOURCES[chosen.source]
        origin = _origin(benchmark, params.images, reader.bundled)
    if origin is not None:
        console.say("prepare", f"{benchmark}: reading {reader.size} images ({origin})")
    with console.progress("prepare", reader.size, "images") as progress:
        source = reader.read(origin, paths.downloads(), progress.reach)
    if params.split == "file_order" and not source.in_file_order:
        raise InputError(
            f"params.yaml: split: file_order: {origin or benchmark} does not tell the order of the "
            f"original files; write `split: content`, or give the original archive, where there is one"
        )
    sizes = np.bincount(source.label, minlength=len(source.class_names))
    shape = "x".join(map(str, source.images.shape[1:]))
    if chosen.test_share is not None:
        test = (
            f"data seed {params.data_seed} picks {chosen.test_share:g} of each as test images, at least one"
        )
    elif source.test is None:
        test = f"data seed {params.data_seed} picks {chosen.test_per_class} test images a class"
    else:
        test = f"{source.test.sum()} are the official test images"
    console.say(
        "prepare",
        f"{benchmark}: {len(source.images)} images {shape}, {len(sizes)} classes of {sizes.min()} to "
        f"{sizes.max()}; {test}",
    )
    pool = draw_pool(
        source,
        benchmark=benchmark,
        data_seed=params.data_seed,
        test_per_class=chosen.test_per_class,
        test_share=chosen.test_share,
        duplicates="keep",
        drawn_by=params.split,
    )
    if len(pool.shared):
        console.say("prepare", duplicates_line(pool, params.duplicates))
    if params.duplicates == "exclude":
        pool = without_duplicates(pool)
    if chosen.tail == "natural":
        _show_tail(pool, chosen, params)
    pool, images = arranged(pool, source.images)
    # the pool is written before the images take their name: if either fails, both stay as they were
    with atomic_path(paths.images(benchmark)) as temporary:
        np.save(temporary, images)
        write_pool(paths.pool(benchmark), pool)
    console.done(
        "prepare",
        f"{len(pool.rows('source'))} source and {len(pool.rows('test'))} test images "
        f"(pool {pool.fingerprint[:12]})",
    )


def _origin(benchmark: str, images: dict[str, str], bundled: bool) -> str | None:
    """Where the images are. Raises InputError where that is not said, or said of images that are here."""
    if bundled and benchmark in images:
        raise InputError(f"params.yaml: images: {benchmark}: its images are installed; take the line out")
    if not bundled and benchmark not in images:
        raise InputError(
            f"params.yaml: images: {benchmark}: missing; add `images: {{{benchmark}: download}}`, or the "
            f"path of its files in place of `download`"
        )
    return images.get(benchmark)


def _find_own(chosen: Benchmark, params: Params) -> OwnImages:
    """A person's images: where they are, and that every class has enough. Raises InputError."""
    from longtail.config.params import DOWNLOAD
    from longtail.data.image_files import shown
    from longtail.data.sources.own import WANTED, find_own

    where = params.images.get(chosen.name)
    if where in (None, DOWNLOAD):
        found = "missing" if where is None else f"found {DOWNLOAD}, of which there is nothing"
        raise InputError(f"params.yaml: images: {chosen.name}: {found}; {WANTED}")
    found = find_own(Path(where), chosen.image_shape[0])
    meta = chosen.with_meta_per_class(params.meta_per_class).meta_per_class
    found.check(chosen.test_share or 0, meta)
    sizes, passed = found.sizes, f"; {found.others} other files passed over" if found.others else ""
    console.say(
        "prepare",
        f"{chosen.name}: {len(sizes)} classes, the largest {shown(found.class_names[0])} with {sizes[0]} "
        f"images, the smallest {shown(found.class_names[-1])} with {sizes[-1]}{passed}",
    )
    return found


def _show_tail(pool: Pool, chosen: Benchmark, params: Params) -> None:
    """Print the rules of the split and what they give, by shot group. Raises InputError.

    A class can be too small only now, where images that stand twice were left out.
    """
    import numpy as np

    from longtail.data.manifests import tail_rows
    from longtail.data.sources.own import check_classes
    from longtail.reporting.accuracy import shot_groups

    meta = chosen.with_meta_per_class(params.meta_per_class).meta_per_class
    classes = len(pool.class_names)
    test, source = (np.bincount(pool.label[pool.rows(s)], minlength=classes) for s in ("test", "source"))
    needs = (test + meta + 1).tolist()
    where = f"{chosen.name}, copies of test and meta images left out"
    check_classes(where, pool.class_names, (test + source).tolist(), needs, meta)
    train = np.bincount(pool.label[tail_rows(pool, meta)], minlength=classes)
    check_classes(where, pool.class_names, (test + meta + train).tolist(), needs, meta)
    console.say(
        "prepare",
        f"of each class: the test images, then {meta} for the meta set; the rest trains: "
        f"{train.sum()} images, n_max {train.max()}, n_min {train.min()}",
    )
    for name, members in shot_groups(train.tolist(), chosen.groups, params.shot_groups).items():
        spans = [f"{part[members].min()} to {part[members].max()}" for part in (train, test) if members]
        console.say(
            "prepare",
            f"{name}-shot: {len(members)} class{'' if len(members) == 1 else 'es'}"
            + (f" of {spans[0]} training and {spans[1]} test images" if spans else ""),
        )


def duplicates_line(pool: Pool, wanted: str) -> str:
    """One line on the images that are both in the source and in the test set."""
    import numpy as np

    from longtail.data.image_files import shown

    groups = []
    for content in pool.shared[:SHOWN].tolist():
        rows = np.flatnonzero(pool.hash == content)
        where = [f"{shown(pool.class_names[pool.label[row]])} ({pool.split[row]})" for row in rows]
        groups.append(f"{content[:12]} {', '.join(where)}")
    among = np.isin(pool.hash, pool.shared)
    source = int((among & (pool.split != "test")).sum())
    what = "kept in the source" if wanted == "keep" else "left out of the source"
    return (
        f"{len(pool.shared)} images are both in source and test ({source} source and "
        f"{int(among.sum()) - source} test images; duplicates: {wanted}, {what}): {'; '.join(groups)}"
        + ("; ..." if len(pool.shared) > SHOWN else "")
    )


def prepare_listed(chosen: Benchmark, params: Params, verify: bool) -> None:
    """Write data/<benchmark>/pool.parquet. Raises InputError where an image is missing or cannot be used."""
    from longtail.data.image_files import shown
    from longtail.data.pools import without_duplicates, write_pool
    from longtail.data.sources.listed import content_hashes, find_listed, listed_pool
    from longtail.errors import InputError

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
        console.say("prepare", duplicates_line(pool, params.duplicates))
    if params.duplicates == "exclude":
        pool = without_duplicates(pool)
    write_pool(paths.pool(chosen.name), pool)
    counts = ", ".join(f"{len(pool.rows(split))} {split}" for split in ("source", "val", "test"))
    console.done("prepare", f"{counts} images (pool {pool.fingerprint[:12]})")


def _verify(files: list[Path], root: Path) -> None:
    """Decode all images. Raises InputError with the number of bad ones and the first five."""
    from longtail.data.image_roots import verify
    from longtail.data.sources.listed import check_decoded

    with console.progress("prepare", len(files), "images decoded") as progress:
        bad = verify(files, os.cpu_count() or 1, progress.reach)
    check_decoded(root, bad, len(files))


if __name__ == "__main__":
    console.run(main)
