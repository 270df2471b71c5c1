"""From predictions to the reports of cells."""

from longtail.files import write_json
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies
from longtail.planning.plans import Cell, check_code, read_evaluation
from longtail.reporting.evaluation import report_on
from longtail.reporting.reports import CellReport, FailedReport


@remedies("run `dvc repro`")
def evaluate(benchmark: str, imbalance: float, bundle: str | None = None) -> None:
    """Write the reports of all cells at one imbalance, or of one bundle there. Raises InputError."""
    plan_path = paths.evaluation_plan(benchmark, imbalance)
    plan = read_evaluation(plan_path)
    check_code(plan_path, plan.code)
    cells, groups = plan.cells(bundle), plan.groups
    console.say(
        "evaluate",
        f"{benchmark} imb{imbalance:g}{f' {bundle}' if bundle else ''}: {len(cells)} cells; shot groups by "
        f"{groups.convention}, thresholds {groups.many_above:g} and {groups.few_below:g}",
    )
    reports = []
    with console.progress("evaluate", len(cells), "cells") as shown:
        for cell in cells:
            folder = paths.model(benchmark, imbalance, cell.bundle, cell.member)
            reports.append(report_on(folder, cell, groups))
            shown.reach(len(reports))
    for cell, report in zip(cells, reports, strict=True):  # only after every cell has proved sound
        write_report(cell, report)
    sound = [report for report in reports if not isinstance(report, FailedReport)]
    means = []
    for split in ("all", "few"):
        values = [value for report in sound if (value := report.accuracy[split]) is not None]
        means += [f"{split} {sum(values) / len(values):.1f} %"] if values else []
    text = ", ".join([f"{len(sound)} reports", *([f"mean accuracy {', '.join(means)}"] if means else [])])
    failed = [report.cell for report in reports if isinstance(report, FailedReport)]
    console.done("evaluate", text + (f"; {len(failed)} cells FAILED: {', '.join(failed)}" if failed else ""))


def write_report(cell: Cell, report: CellReport | FailedReport) -> None:
    """Write the report of a cell to its place."""
    path = paths.cell_report(cell.benchmark, cell.imbalance, cell.bundle, cell.member)
    usual = {name for name in ("ranks", "features_ranks") if getattr(report, name, 1) == 1}
    write_json(path, report.model_dump(mode="json", exclude=usual))
