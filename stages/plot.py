"""Figures 1-4 with the numbers behind them, and the training curves of all cells for `dvc plots`."""

from pathlib import Path

from longtail.pipeline import console, options


def main(
    benchmark: options.Benchmark = "digits-lt",
    partial: options.Partial = False,
    results: options.Results = Path(),
) -> None:
    """Write reports/<benchmark>/figure1..4 as svg, png and csv, and curves.csv."""
    from longtail.pipeline.plot import plot

    plot(benchmark, partial, results)


if __name__ == "__main__":
    console.run(main)
