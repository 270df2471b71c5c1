"""Options that several stages and commands share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from longtail.pipeline.cluster.addresses import CLUSTER, INSECURE

Benchmark = Annotated[str, typer.Option(help="Which benchmark.")]
Imbalance = Annotated[float, typer.Argument(help="n_max / n_min of the training set.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")]
Jobs = Annotated[
    int,
    typer.Option(min=0, help="Trainings at once; 0: one on a GPU, else one a core, or two if that is all."),
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Only this seed; repeatable.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        envvar=CLUSTER,
        help="Train on the workers of this Dask scheduler, tcp://HOST:PORT.",
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", envvar=INSECURE, help="Allow tcp:// to other machines: not encrypted.")
]
Weights = Annotated[Literal["last", "selected"], typer.Option(help="selected: those best on the meta set.")]
Partial = Annotated[bool, typer.Option("--partial", help="Leave out missing or stale cells, and say so.")]
Results = Annotated[
    Path, typer.Option(help="A folder made by `longtail reproduce --results`, instead of this one.")
]


def list_methods(stage: str) -> Any:
    """An option that prints the methods of `stage`, one a line, and exits."""

    def show(wanted: bool) -> None:
        if wanted:
            from longtail.config.presets import METHODS

            for preset in METHODS.values():
                if preset.stage == stage:
                    print(f"{preset.name:<22} {preset.summary}")
            raise typer.Exit

    return typer.Option("--list-methods", callback=show, is_eager=True, help="List methods and exit.")
