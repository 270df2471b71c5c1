"""Tables 1-5 from the cell reports that the plan names, and the headline table in the terminal."""

from __future__ import annotations

from functools import partial as bind
from pathlib import Path
from typing import Annotated

import typer

from longtail.pipeline import console, paths

PARTIAL = "Fill in what is there, and say so, where cells are not run or are of another plan."
RESULTS = "A folder that `longtail.commands.reproduce --results` made, in place of this one."


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    partial: Annotated[bool, typer.Option("--partial", help=PARTIAL)] = False,
    results: Annotated[Path, typer.Option(help=RESULTS)] = Path(),
) -> None:
    """Write reports/<benchmark>/table1..5.md and .csv, and metrics.json for `dvc metrics`."""
    from longtail.config.layouts import read_layouts
    from longtail.files import write_json, write_text
    from longtail.planning.plans import read_tables_plan
    from longtail.reporting import tables
    from longtail.reporting.reports import read_reports
    from longtail.reporting.table_text import headline, markdown

    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        layouts = read_layouts().of(benchmark).tables
        cells = sum(len(bundle.members) for bundle in plan.bundles)
        report_path, model_path = (bind(path, benchmark) for path in (paths.cell_report, paths.model))
        reports, failures = read_reports(plan, report_path, model_path, partial)
        there = f"{len(reports)} of {cells}" if partial else cells
        console.say("tabulate", f"{benchmark}: {len(layouts)} tables from {there} cells")
        filled = [tables.fill(layout, plan, reports, failures) for layout in layouts]
        for table in filled:
            name = f"table{table.layout.number}"
            write_text(paths.report(benchmark, f"{name}.md"), markdown(table))
            write_text(paths.report(benchmark, f"{name}.csv"), tables.long_csv(table))
        write_json(paths.report(benchmark, "metrics.json"), tables.metrics(filled[0]))
    print(f"\n{headline(filled[0])}\n")
    first = results / paths.report(benchmark, f"table{filled[0].layout.number}.md")
    more = f" and {len(filled) - 1} more" if len(filled) > 1 else ""
    failed = f"; {len(failures)} cells FAILED" if failures else ""
    console.done("tabulate", f"{first}{more}{failed}")


if __name__ == "__main__":
    console.run(main)
