"""`longtail report`: the page with all results of a benchmark, in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from longtail.pipeline import options


def main(
    benchmark: options.Benchmark = "digits-lt",
    results: options.Results = Path(),
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it, or only print the path.")
    ] = True,
) -> None:
    """Open the page with all results in a browser.

    reports/<benchmark>/index.html is one file that needs no server and no network; `dvc repro` makes it.
    """
    import webbrowser

    from longtail.errors import InputError
    from longtail.pipeline import console, paths

    path = results / paths.report(benchmark, "index.html")
    if not path.is_file():
        raise InputError(path, "no such page", f"`python -m stages.page --benchmark {benchmark}` makes it")
    print(path)
    if browser and not webbrowser.open(path.resolve().as_uri()):
        console.say("report", "found no browser to open it with")
