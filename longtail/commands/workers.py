"""Train cells of a cluster on this machine."""

from typing import Annotated

import typer

from longtail.pipeline import options
from longtail.pipeline.cluster.addresses import LOCAL


def main(
    address: Annotated[str, typer.Argument(help="Of the scheduler, as `dask scheduler` prints it.")] = LOCAL,
    count: Annotated[int, typer.Option(min=0, help="Workers; 0: one a GPU, else one a core.")] = 0,
    insecure: options.Insecure = False,
) -> None:
    """Train cells of a cluster on this machine.

    They come from `longtail reproduce --cluster` and from stages with LONGTAIL_CLUSTER: see docs/cluster.md.
    """
    from longtail.pipeline.cluster.machine import run_workers

    run_workers(address, count, insecure)
