"""Gather all images of a benchmark in its pool, and set the test images apart."""

from typing import Annotated

import typer

from longtail.pipeline import console, options


def main(
    benchmark: options.Benchmark = "digits-lt",
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode the images of official lists, which stay files, too.")
    ] = False,
) -> None:
    """Write data/<benchmark>/pool.parquet and images.npy: every image, its class, content hash and split.

    Images of official lists stay files, and the pool says where they lie.
    """
    from longtail.pipeline.prepare import prepare

    prepare(benchmark, verify)


if __name__ == "__main__":
    console.run(main)
