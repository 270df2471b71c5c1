"""Retrain classifiers on frozen features: every head and seed on one variant at one imbalance."""

from __future__ import annotations

from typing import Annotated

import typer

from longtail.pipeline import console


def main(
    imbalance: Annotated[float, typer.Argument(help="n_max / n_min, one of the planned ones.")],
    variant: Annotated[str, typer.Argument(help="The variant whose features are used.")],
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given again.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[
        int, typer.Option(min=0, help="Cells trained at once; 0: up to two a core, one on a GPU.")
    ] = 0,
    methods: Annotated[
        bool,
        typer.Option(
            "--list-methods", callback=console.lister("retrain"), is_eager=True, help="List, and leave."
        ),
    ] = False,
) -> None:
    """Train heads on a variant's features: models/<benchmark>/imb<R>/<variant>-heads/<head>-seed<S>."""
    from longtail.pipeline.bundles import run_bundle

    run_bundle("retrain", benchmark, imbalance, f"{variant}-heads", seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
