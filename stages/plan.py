"""Expand params.yaml into one small file per bundle of cells, so that a change re-runs what it touches."""

from longtail.pipeline import console, options


def main(benchmark: options.Benchmark = "digits-lt") -> None:
    """Write data/<benchmark>/plan: everything that decides each cell, and the cells of the tables."""
    from longtail.pipeline.plan import plan

    plan(benchmark)


if __name__ == "__main__":
    console.run(main)
