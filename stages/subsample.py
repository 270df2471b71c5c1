"""Draw the long-tailed training set of one imbalance."""

from longtail.pipeline import console, options


def main(imbalance: options.Imbalance, benchmark: options.Benchmark = "digits-lt") -> None:
    """Write data/<benchmark>/imb<R>/train.parquet: n_c = trunc(n_max R^(-c/(C-1))) images of class c.

    Images that are long-tailed already are thinned in this way, with each class's own number as n_max;
    imbalance 1 keeps them. Official lists are used as they are, at their imbalance.
    """
    from longtail.pipeline.subsample import subsample

    subsample(benchmark, imbalance)


if __name__ == "__main__":
    console.run(main)
