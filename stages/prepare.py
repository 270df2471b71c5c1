"""Gather all images of a benchmark in its pool, and set the test images apart."""

from __future__ import annotations

from typing import Annotated

import typer

from stages import console, paths


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write data/<benchmark>/pool.parquet and images.npy: every image, its class, content hash and split."""
    from longtail.benchmarks import find_benchmark
    from longtail.params import read_params

    params, chosen = read_params(), find_benchmark(benchmark)

    import numpy as np

    from longtail.atomic import atomic_path
    from longtail.pools import draw_pool, write_pool
    from longtail.sources import SOURCES

    source = SOURCES[chosen.source]()
    sizes = np.bincount(source.label, minlength=len(source.class_names))
    shape = "x".join(map(str, source.images.shape[1:]))
    console.say(
        "prepare",
        f"{benchmark}: {len(source.images)} images {shape}, {len(sizes)} classes of {sizes.min()} to "
        f"{sizes.max()}; data seed {params.data_seed} picks {chosen.test_per_class} test images a class",
    )
    pool = draw_pool(
        source, benchmark=benchmark, data_seed=params.data_seed, test_per_class=chosen.test_per_class
    )
    # the pool is written before the images take their name: if either fails, both stay as they were
    with atomic_path(paths.images(benchmark)) as temporary:
        np.save(temporary, source.images)
        write_pool(paths.pool(benchmark), pool)
    copies = len(source.images) - len(pool.image)
    console.done(
        "prepare",
        f"{len(pool.rows('source'))} source and {len(pool.rows('test'))} test images"
        + (f", {copies} copies of test images left out" if copies else "")
        + f" (pool {pool.fingerprint[:12]})",
    )


if __name__ == "__main__":
    console.run(main)
