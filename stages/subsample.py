"""Draw the long-tailed training set of one imbalance."""

from __future__ import annotations

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    benchmark: options.Benchmark = "digits-lt",
) -> None:
    """Write data/<benchmark>/imb<R>/train.parquet: n_c = trunc(n_max R^(-c/(C-1))) images of class c.

    Where the images have a long tail of their own, that is thinned in this way, n_max being each class's own
    number; imbalance 1 leaves it as it is. Official lists are taken as they are, at their imbalance.
    """
    from longtail.pipeline.subsample import subsample

    subsample(benchmark, imbalance)


if __name__ == "__main__":
    console.run(main)
