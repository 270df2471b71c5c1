"""Log tables as MLflow experiments and rows as runs; all of it can be rebuilt from the reports."""

from longtail.pipeline import console, options


def main(benchmark: options.Benchmark = "digits-lt") -> None:
    """Log every table's rows, with curves and per-class reports, to MLflow; what is already there stays."""
    from longtail.pipeline.track import track

    track(benchmark)


if __name__ == "__main__":
    console.run(main)
