"""Accuracy and calibration of the cells of one bundle, from the predictions that their training saved."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    bundle: Annotated[str | None, typer.Argument(help="Only this one: cross_entropy-heads, ...")] = None,
    benchmark: options.Benchmark = "digits-lt",
) -> None:
    """Write the reports of all cells at one imbalance: accuracy by shot group and class, calibration."""
    from longtail.pipeline.evaluate import evaluate

    evaluate(benchmark, imbalance, bundle)


if __name__ == "__main__":
    console.run(main)
