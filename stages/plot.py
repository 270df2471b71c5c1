"""Figures 1-4 with the numbers behind them, and the training curves of all cells for `dvc plots`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longtail.pipeline import console


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    partial: Annotated[bool, typer.Option("--partial", help=console.PARTIAL)] = False,
    results: Annotated[Path, typer.Option(help=console.RESULTS)] = Path(),
) -> None:
    """Write reports/<benchmark>/figure1..4 as svg, png and csv, and curves.csv."""
    from longtail.pipeline.plot import plot

    plot(benchmark, partial, results)


if __name__ == "__main__":
    console.run(main)
