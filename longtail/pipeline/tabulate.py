"""From cell reports to tables."""

from functools import partial
from pathlib import Path

from longtail.config.layouts import read_layouts
from longtail.files import write_json, write_text
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies
from longtail.planning.plans import read_tables_plan
from longtail.reporting import tables
from longtail.reporting.reports import read_reports
from longtail.reporting.table_text import headline, markdown


@remedies("run `dvc repro`")
def tabulate(benchmark: str, incomplete: bool = False, results: Path = Path()) -> None:
    """Write the tables and metrics.json into `results`/reports/<benchmark>. Raises InputError.

    `incomplete`: leave out cells that are missing or of another plan.
    """
    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        layouts = read_layouts().of(benchmark).tables
        cells = sum(len(bundle.members) for bundle in plan.bundles)
        report_path, model_path = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
        reports, failures = read_reports(plan, report_path, model_path, incomplete)
        there = f"{len(reports)} of {cells}" if incomplete else cells
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
