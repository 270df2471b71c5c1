"""The long-tailed training set of one imbalance."""

import numpy as np

from longtail.config.benchmarks import Benchmark
from longtail.config.params import read_params
from longtail.data.manifests import draw_train, tail_rows, write_manifest
from longtail.data.pools import Pool, read_pool
from longtail.data.profiles import exponential_profile, natural_profile
from longtail.errors import InputError
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies


@remedies()
def subsample(benchmark: str, imbalance: float) -> None:
    """Write data/<benchmark>/imb<R>/train.parquet. Raises InputError if a class has too few images."""
    params = read_params()
    chosen = params.benchmark(benchmark).with_meta_per_class(params.meta_per_class)
    chosen.check_imbalance(imbalance)

    pool = read_pool(paths.pool(benchmark))
    counts, left = class_counts(pool, chosen, imbalance)
    console.say(
        "subsample",
        f"{benchmark}, imbalance {imbalance:g}: {sum(counts)} of {sum(left)} images, {len(counts)} classes, "
        f"n_max {max(counts)}, n_min {min(counts)}; {pool.rule}",
    )
    manifest = draw_train(pool, imbalance, counts, chosen.meta_per_class)
    path = paths.train_manifest(benchmark, imbalance)
    write_manifest(path, manifest)
    shown = [*counts[:5], "...", *counts[-5:]] if len(counts) > 20 else counts
    console.done("subsample", f"{path} with {', '.join(map(str, shown))} ({manifest.fingerprint[:12]})")


def class_counts(pool: Pool, chosen: Benchmark, imbalance: float) -> tuple[list[int], list[int]]:
    """Images of each class in the training set, and those it is drawn from. Raises InputError if too few."""
    classes = len(pool.class_names)
    left = np.bincount(pool.label[tail_rows(pool, chosen.meta_per_class)], minlength=classes)
    if chosen.tail == "listed":
        counts = left.tolist()
    elif chosen.tail == "natural":
        counts = natural_profile(left.tolist(), imbalance, pool.class_names)
    else:
        counts = exponential_profile(chosen.n_max or int(left.min()), imbalance, classes)
    short = np.flatnonzero(left < counts)
    if len(short):
        label = short[0]
        remedies = ["write `duplicates: keep`"] if pool.duplicates == "exclude" else []
        remedies += ["choose a higher imbalance"] if label else []
        raise InputError(
            f"imbalance {imbalance:g}",
            f"class {label} ({pool.class_names[label]!r}) has {left[label]} images left to train on, "
            f"{counts[label]} wanted",
            " or ".join(remedies) or "add images to it",
        )
    return list(counts), left.tolist()
