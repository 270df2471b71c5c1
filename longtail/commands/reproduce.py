"""Train a benchmark's cells without DVC, the most important first, until a time budget runs out."""

from pathlib import Path
from typing import Annotated

import typer

from longtail.pipeline import options


def main(
    benchmark: options.Benchmark = "cifar100-lt",
    budget_minutes: Annotated[
        float | None, typer.Option(min=0, help="Skip trainings that would exceed the budget.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="This variant, or cross_entropy-crt for a head; repeatable.")
    ] = None,
    imbalance: Annotated[list[float] | None, typer.Option(help="Only this one; repeatable.")] = None,
    seed: options.Seeds = None,
    device: options.Device = "auto",
    jobs: options.Jobs = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trainings and their hours, and exit.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="Copy what can be committed here: all but weights and predictions.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--slice", metavar="K/N", help="Only every N-th training, from the K-th; no tables."),
    ] = None,
    cluster: options.Cluster = None,
    insecure: options.Insecure = False,
) -> None:
    """Train cells without DVC within a time budget.

    The most important cells come first; tables and figures follow. Re-run the same command to resume:
    finished trainings stay in work/.
    """
    from longtail.pipeline.reproduce import reproduce

    reproduce(
        benchmark,
        budget_minutes,
        only,
        imbalance,
        seed,
        device,
        jobs,
        dry_run,
        results,
        part,
        cluster or None,  # an empty variable means none
        insecure,
    )
