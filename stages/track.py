"""Tables as MLflow experiments, rows as their runs; made from reports, so it can all be made again."""

from __future__ import annotations

from longtail.pipeline import console, options


def main(
    benchmark: options.Benchmark = "digits-lt",
) -> None:
    """Log every table's rows, with curves and per-class reports, to MLflow; what is already there stays."""
    from longtail.pipeline.track import track

    track(benchmark)


if __name__ == "__main__":
    console.run(main)
