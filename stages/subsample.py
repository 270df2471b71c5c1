"""Draw the long-tailed training set of one imbalance."""

from __future__ import annotations

from typing import Annotated

import typer

from stages import console, paths


def main(
    imbalance: Annotated[float, typer.Argument(help="n_max / n_min, 1 or more.")],
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write data/<benchmark>/imb<R>/train.parquet: n_c = trunc(n_max R^(-c/(C-1))) images of class c."""
    from longtail.benchmarks import find_benchmark

    chosen = find_benchmark(benchmark)

    import numpy as np

    from longtail.manifests import draw_train, tail_rows, write_manifest
    from longtail.pools import read_pool
    from longtail.profiles import exponential_profile

    pool = read_pool(paths.pool(benchmark))
    classes = len(pool.class_names)
    left = np.bincount(pool.label[tail_rows(pool, chosen.meta_per_class)], minlength=classes)
    counts = exponential_profile(chosen.n_max or int(left.min()), imbalance, classes)
    console.say(
        "subsample",
        f"{benchmark}, imbalance {imbalance:g}: {sum(counts)} of {left.sum()} images, {classes} classes, "
        f"n_max {counts[0]}, n_min {counts[-1]}; data seed {pool.data_seed}",
    )
    manifest = draw_train(pool, imbalance, counts, chosen.meta_per_class)
    path = paths.train_manifest(benchmark, imbalance)
    write_manifest(path, manifest)
    console.done("subsample", f"{path} with {', '.join(map(str, counts))} ({manifest.fingerprint[:12]})")


if __name__ == "__main__":
    console.run(main)
