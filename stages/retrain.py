"""Retrain classifiers on frozen features: every head and seed on variants at one imbalance."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    variants: Annotated[
        list[str] | None,
        typer.Argument(help="The variants whose features are used; default: all that are planned."),
    ] = None,
    benchmark: options.Benchmark = "digits-lt",
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    methods: Annotated[bool, options.list_methods("retrain")] = False,
) -> None:
    """Train heads on the features of variants: models/<benchmark>/imb<R>-heads/<variant>-heads/."""
    from longtail.pipeline.bundles import run_bundles
    from longtail.planning.plans import HEADS

    bundles = [f"{variant}{HEADS}" for variant in variants or []]
    run_bundles("retrain", benchmark, imbalance, bundles, seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
