"""Draw the balanced meta set, and prove that it shares no image with the training and test sets."""

from __future__ import annotations

from typing import Annotated

import typer

from longtail.pipeline import console


def main(
    imbalance: Annotated[float, typer.Argument(help="That of the training set, n_max / n_min.")],
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write data/<benchmark>/imb<R>/meta.parquet: the same images at every imbalance."""
    from longtail.pipeline.extract_meta import extract_meta

    extract_meta(benchmark, imbalance)


if __name__ == "__main__":
    console.run(main)
