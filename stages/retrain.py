"""Retrain classifiers on frozen features: every head and seed on one variant at one imbalance."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    variant: Annotated[str, typer.Argument(help="The variant whose features are used.")],
    benchmark: options.Benchmark = "digits-lt",
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    methods: Annotated[bool, options.list_methods("retrain")] = False,
) -> None:
    """Train heads on a variant's features: models/<benchmark>/imb<R>/<variant>-heads/<head>-seed<S>."""
    from longtail.pipeline.bundles import run_bundle

    run_bundle("retrain", benchmark, imbalance, f"{variant}-heads", seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
