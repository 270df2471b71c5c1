"""`longtail compare`: what changes from one row to another, or from one revision to another."""

from pathlib import Path
from typing import Annotated

import typer

from longtail.pipeline import options


def main(
    old: Annotated[
        str, typer.Argument(metavar="A", help="A row (`Ours`, `difficulty_net+crt`), or a revision.")
    ],
    new: Annotated[str, typer.Argument(metavar="B", help="Another one; differences are B - A.")],
    benchmark: options.Benchmark = "digits-lt",
    imbalance: Annotated[float | None, typer.Option(help="Which one; by default the largest.")] = None,
    network: Annotated[str | None, typer.Option(help="Which one; by default the benchmark's first.")] = None,
    results: options.Results = Path(),
) -> None:
    """Compare two rows of the tables, or two revisions.

    Prints B - A by split, paired by seed, with intervals and words, and the classes that changed most. A
    revision is a commit, branch, tag or experiment of DVC, or `workspace`.
    """
    from longtail.pipeline.compare import compare

    print(compare(old, new, benchmark, imbalance, network, results))
