"""Draw the balanced meta set, and prove that it shares no image with the training and test sets."""

from longtail.pipeline import console, options


def main(imbalance: options.Imbalance, benchmark: options.Benchmark = "digits-lt") -> None:
    """Write data/<benchmark>/imb<R>/meta.parquet: the same images at every imbalance."""
    from longtail.pipeline.extract_meta import extract_meta

    extract_meta(benchmark, imbalance)


if __name__ == "__main__":
    console.run(main)
