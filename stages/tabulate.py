"""Tables 1-5 from the cell reports that the plan names, and the headline table in the terminal."""

from pathlib import Path

from longtail.pipeline import console, options


def main(
    benchmark: options.Benchmark = "digits-lt",
    partial: options.Partial = False,
    results: options.Results = Path(),
) -> None:
    """Write reports/<benchmark>/table1..5.md and .csv, and metrics.json for `dvc metrics`."""
    from longtail.pipeline.tabulate import tabulate

    tabulate(benchmark, partial, results)


if __name__ == "__main__":
    console.run(main)
