"""From cell reports to tables."""

from functools import partial
from pathlib import Path

from longtail.config.claims import read_claims
from longtail.config.layouts import read_layouts
from longtail.files import write_json, write_text
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies
from longtail.pipeline.studies import read_courses
from longtail.planning.plans import TablesPlan, read_tables_plan
from longtail.reporting import tables
from longtail.reporting.claims import JudgedClaim, claims_csv, judge_claims, read_from_histories
from longtail.reporting.claims_text import claims_markdown, summary
from longtail.reporting.reports import CellReport, FailedReport, read_reports
from longtail.reporting.study import Study
from longtail.reporting.table_text import headline, markdown


@remedies("run `dvc repro`")
def tabulate(benchmark: str, incomplete: bool = False, results: Path = Path()) -> None:
    """Write the tables, claims and metrics.json into `results`/reports/<benchmark>. Raises InputError.

    `incomplete`: leave out cells that are missing or of another plan.
    """
    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        every = read_layouts()
        layouts = every.of(benchmark).tables
        cells = sum(len(bundle.members) for bundle in plan.bundles)
        report_path, model_path = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
        reports, failures = read_reports(plan, report_path, model_path, incomplete)
        there = f"{len(reports)} of {cells}" if incomplete else cells
        console.say("tabulate", f"{benchmark}: {len(layouts)} tables from {there} cells")
        filled = [tables.fill(layout, plan, reports, failures) for layout in layouts]
        judged = judged_claims(plan, reports, failures)
        for table in filled:
            name = f"table{table.layout.number}"
            write_text(paths.report(benchmark, f"{name}.md"), markdown(table))
            write_text(paths.report(benchmark, f"{name}.csv"), tables.long_csv(table))
        write_text(paths.report(benchmark, "claims.md"), claims_markdown(judged, plan, every))
        write_text(paths.report(benchmark, "claims.csv"), claims_csv(judged))
        write_json(paths.report(benchmark, "metrics.json"), tables.metrics(filled[0]))
    print(f"\n{headline(filled[0])}\n")
    console.say("tabulate", f"the paper's claims: {summary(judged) or 'none that this plan can judge'}")
    first = results / paths.report(benchmark, f"table{filled[0].layout.number}.md")
    more = f" and {len(filled) - 1} more" if len(filled) > 1 else ""
    failed = f"; {len(failures)} cells FAILED" if failures else ""
    console.done("tabulate", f"{first}{more}{failed}")


def judged_claims(
    plan: TablesPlan, reports: list[CellReport], failures: list[FailedReport]
) -> list[JudgedClaim]:
    """The paper's claims, judged by reports and by the histories that they need. Raises InputError."""
    claims = read_claims()
    needed = read_from_histories(claims, Study(plan, reports, {}))
    return judge_claims(claims, Study(plan, reports, read_courses(plan, needed)), failures)
