"""Tables 1-5 from the cell reports that the plan names, and the headline table in the terminal."""

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
    """Write reports/<benchmark>/table1..5.md and .csv, and metrics.json for `dvc metrics`."""
    from longtail.pipeline.tabulate import tabulate

    tabulate(benchmark, partial, results)


if __name__ == "__main__":
    console.run(main)
