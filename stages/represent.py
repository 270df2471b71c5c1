"""Train networks end to end: all seeds of variants at one imbalance."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    imbalance: options.Imbalance,
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            help="Methods with their settings, such as difficulty_net; default: all that are planned."
        ),
    ] = None,
    benchmark: options.Benchmark = "digits-lt",
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    methods: Annotated[bool, options.list_methods("represent")] = False,
) -> None:
    """Train the representation: models/<benchmark>/imb<R>/<variant>/seed<S>."""
    from longtail.pipeline.bundles import run_bundles

    run_bundles("represent", benchmark, imbalance, variants or [], seed or [], device, jobs)


if __name__ == "__main__":
    console.run(main)
