"""Gather all images of a benchmark in its pool, and set the test images apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from longtail.errors import InputError
from stages import console, paths

if TYPE_CHECKING:
    from longtail.pools import Pool

SHOWN = 3
"""How many duplicates are shown."""


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write data/<benchmark>/pool.parquet and images.npy: every image, its class, content hash and split."""
    from longtail.benchmarks import find_benchmark
    from longtail.params import read_params

    params, chosen = read_params(), find_benchmark(benchmark)

    import numpy as np

    from longtail.atomic import atomic_path
    from longtail.pools import arranged, draw_pool, without_duplicates, write_pool
    from longtail.sources import SOURCES

    reader = SOURCES[chosen.source]
    origin = _origin(benchmark, params.images, reader.bundled)
    if origin is not None:
        console.say("prepare", f"{benchmark}: reading {reader.size} images ({origin})")
    with console.progress("prepare", reader.size, "images") as progress:
        source = reader.read(origin, paths.repository() / "data" / "downloads", progress.reach)
    if params.split == "file_order" and not source.in_file_order:
        raise InputError(
            f"params.yaml: split: file_order: {origin or benchmark} does not tell the order of the "
            f"original files; write `split: content`, or give the original archive, where there is one"
        )
    sizes = np.bincount(source.label, minlength=len(source.class_names))
    shape = "x".join(map(str, source.images.shape[1:]))
    if source.test is None:
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
        duplicates="keep",
        drawn_by=params.split,
    )
    if len(pool.shared):
        console.say("prepare", _duplicates(pool, params.duplicates))
    if params.duplicates == "exclude":
        pool = without_duplicates(pool)
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


def _duplicates(pool: Pool, wanted: str) -> str:
    """One line on the images that are both in the source and in the test set."""
    import numpy as np

    groups = []
    for content in pool.shared[:SHOWN].tolist():
        rows = np.flatnonzero(pool.hash == content)
        where = [f"{pool.class_names[pool.label[row]]} ({pool.split[row]})" for row in rows]
        groups.append(f"{content[:12]} {', '.join(where)}")
    among = np.isin(pool.hash, pool.shared)
    source = int((among & (pool.split == "source")).sum())
    what = "kept in the source" if wanted == "keep" else "left out of the source"
    return (
        f"{len(pool.shared)} images are both in source and test ({source} source and "
        f"{int(among.sum()) - source} test images; duplicates: {wanted}, {what}): {'; '.join(groups)}"
        + ("; ..." if len(pool.shared) > SHOWN else "")
    )


if __name__ == "__main__":
    console.run(main)
