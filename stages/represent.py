"""Train networks end to end: all seeds of one variant at one imbalance."""

from __future__ import annotations

from typing import Annotated

import typer

from longtail.pipeline import console


def main(
    imbalance: Annotated[float, typer.Argument(help="n_max / n_min, one of the planned ones.")],
    variant: Annotated[str, typer.Argument(help="A method with its settings, such as difficulty_net.")],
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given again.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[
        int, typer.Option(min=0, help="Cells trained at once; 0: up to two a core, one on a GPU.")
    ] = 0,
    methods: Annotated[
        bool,
        typer.Option(
            "--list-methods", callback=console.lister("represent"), is_eager=True, help="List, and leave."
        ),
    ] = False,
) -> None:
    """Train the representation: models/<benchmark>/imb<R>/<variant>/seed<S>."""
    from longtail.pipeline.bundles import run_bundle

    run_bundle("represent", benchmark, imbalance, variant, seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
