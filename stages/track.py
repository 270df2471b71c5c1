"""Tables as MLflow experiments, rows as their runs; made from reports, so it can all be made again."""

from __future__ import annotations

from typing import Annotated

import typer

from longtail.pipeline import console


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Log every table's rows, with curves and per-class reports, to MLflow; what is there already stays."""
    from longtail.pipeline.track import track

    track(benchmark)


if __name__ == "__main__":
    console.run(main)
