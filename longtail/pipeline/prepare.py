"""The pool of a benchmark: all its images, the test images set apart."""

from pathlib import Path

import numpy as np

from longtail.config.benchmarks import Benchmark
from longtail.config.params import DOWNLOAD, OwnImagesParams, Params, read_params
from longtail.data.class_folders import within
from longtail.data.class_lists import WANTED
from longtail.data.conflicts import conflicting, conflicts_text
from longtail.data.manifests import tail_rows
from longtail.data.pools import (
    Pool,
    arranged,
    draw_pool,
    duplicates_line,
    share_sizes,
    without_duplicates,
    write_pool,
)
from longtail.data.source import Reader, Source
from longtail.data.sources import SOURCES
from longtail.data.sources.own import OwnImages, check_classes, find_own
from longtail.errors import InputError, shown
from longtail.files import atomic_path
from longtail.pipeline import console, paths
from longtail.pipeline.prepare_lists import prepare_lists
from longtail.reporting.accuracy import shot_groups


def prepare(benchmark: str, verify: bool = False) -> None:
    """Write data/<benchmark>/pool.parquet and, unless images stay files, images.npy. Raises InputError."""
    params = read_params()
    chosen = params.benchmark(benchmark)
    if chosen.source == "listed":
        prepare_lists(chosen, params, verify)
        return
    if verify:
        raise InputError("--verify", f"all images of {benchmark} are always decoded", "leave it out")

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
    for note in source.notes:
        console.say("prepare", note)
    source = _one_label_each(source, reader, chosen, params)
    if params.split == "file_order" and not source.in_file_order:
        raise InputError(
            "params.yaml",
            f"split: file_order: {origin or benchmark} does not tell the order of the original files",
            "write `split: content`, or give the original archive, where there is one",
        )
    sizes = np.bincount(source.label, minlength=len(source.class_names))
    shape = "x".join(map(str, source.images.shape[1:]))
    if chosen.source == "own" and source.test is not None:
        test = f"{source.test.sum()} are the given test images"
    elif chosen.test_share is not None:
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
    """Where the images are. Raises InputError if that is not said, or said of images that are here."""
    if bundled and benchmark in images:
        raise InputError("params.yaml", f"images: {benchmark}: its images are built in", "remove the line")
    if not bundled and benchmark not in images:
        raise InputError(
            "params.yaml",
            f"images: {benchmark}: missing",
            f"add `images: {{{benchmark}: download}}`, or the path of its files in place of `download`",
        )
    return images.get(benchmark)


def _find_own(chosen: Benchmark, params: Params) -> OwnImages:
    """The user's images: where they are, and that every class has enough. Raises InputError."""
    where = params.images.get(chosen.name)
    if where in (None, DOWNLOAD):
        found = "missing" if where is None else f"found {DOWNLOAD}, which your images do not have"
        raise InputError("params.yaml", f"images: {chosen.name}: {found}", WANTED)
    own = params.own_images or OwnImagesParams(train=str(where))
    test = None if own.test is None else Path(own.test)
    found = find_own(Path(where), chosen.image_shape[0], test, upright=own.orientation == "apply")
    meta = chosen.with_meta_per_class(params.meta_per_class).meta_per_class
    found.check(chosen.test_share, meta)
    sizes = found.sizes
    console.say(
        "prepare",
        f"{chosen.name}: {len(sizes)} classes, the largest {shown(found.class_names[0])} with {sizes[0]} "
        f"images, the smallest {shown(found.class_names[-1])} with {sizes[-1]}",
    )
    for note in found.notes:
        console.say("prepare", note)
    return found


def _one_label_each(source: Source, reader: Reader, chosen: Benchmark, params: Params) -> Source:
    """`source` as `several_labels` wants it; says which images are under several. Raises InputError."""
    mixed = conflicting(source.hashes, source.label)
    if not mixed.any():
        return source
    own = reader if isinstance(reader, OwnImages) else None
    wanted = params.own_images.several_labels if own and params.own_images else "keep"

    def name_of(row: int) -> str:
        return within(own.files[row], own.root) if own else f"image {row}"

    text = conflicts_text(source.hashes, source.label, source.class_names, name_of)
    if wanted == "refuse":
        raise InputError(f"several_labels: refuse: {params.images[chosen.name]}", text, "keep one of each")
    console.say("prepare", f"{text}; {'all are left out' if wanted == 'drop' else 'all are kept'}")
    if wanted == "keep":
        return source
    left = source.part(~mixed)
    drawn = left.label if left.test is None else left.label[~left.test]
    sizes = np.bincount(drawn, minlength=len(source.class_names)).tolist()
    tests = [0] * len(sizes) if chosen.test_share is None else share_sizes(sizes, chosen.test_share)
    meta = chosen.with_meta_per_class(params.meta_per_class).meta_per_class
    where = f"{chosen.name}, images under several labels left out"
    check_classes(where, source.class_names, sizes, tests, meta)
    return left


def _show_tail(pool: Pool, chosen: Benchmark, params: Params) -> None:
    """Print the rules of the split and what they give, by shot group. Raises InputError.

    A class can be too small only now, where images that stand twice were left out.
    """
    meta = chosen.with_meta_per_class(params.meta_per_class).meta_per_class
    classes = len(pool.class_names)
    test, source = (np.bincount(pool.label[pool.rows(s)], minlength=classes) for s in ("test", "source"))
    drawn = np.zeros_like(test) if chosen.test_share is None else test
    where = f"{chosen.name}, copies of test and meta images left out"
    check_classes(where, pool.class_names, (drawn + source).tolist(), drawn.tolist(), meta)
    train = np.bincount(pool.label[tail_rows(pool, meta)], minlength=classes)
    check_classes(where, pool.class_names, (drawn + meta + train).tolist(), drawn.tolist(), meta)
    first = "" if chosen.test_share is None else "the test images, then "
    console.say(
        "prepare",
        f"of each class: {first}{meta} for the meta set; the rest trains: "
        f"{train.sum()} images, n_max {train.max()}, n_min {train.min()}",
    )
    for name, members in shot_groups(train.tolist(), chosen.groups, params.shot_groups).items():
        spans = [f"{part[members].min()} to {part[members].max()}" for part in (train, test) if members]
        console.say(
            "prepare",
            f"{name}-shot: {len(members)} class{'' if len(members) == 1 else 'es'}"
            + (f" of {spans[0]} training and {spans[1]} test images" if spans else ""),
        )
