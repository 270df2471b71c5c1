"""Train networks end to end: all seeds of one variant at one imbalance."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    variant: Annotated[str, typer.Argument(help="A method with its settings, such as difficulty_net.")],
    benchmark: options.Benchmark = "digits-lt",
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    methods: Annotated[bool, options.list_methods("represent")] = False,
) -> None:
    """Train the representation: models/<benchmark>/imb<R>/<variant>/seed<S>."""
    from longtail.pipeline.bundles import run_bundle

    run_bundle("represent", benchmark, imbalance, variant, seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
