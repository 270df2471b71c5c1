"""A folder of results to keep: reports, histories, tables, figures and page; not the weights."""

import json
import shutil
from datetime import date
from functools import partial
from pathlib import Path

from longtail.files import write_text
from longtail.pipeline import paths
from longtail.pipeline.page import page
from longtail.pipeline.plot import plot
from longtail.pipeline.tabulate import tabulate
from longtail.planning.plans import read_tables_plan
from longtail.reporting.reports import read_reports
from longtail.reporting.table_text import aligned
from longtail.running.cell_folders import FAILED, HISTORY

KEPT = ("cell.json", FAILED, HISTORY, "timing.json")
"""Of the folder of a trained cell."""


def keep(folder: Path, benchmark: str, command: str, hardware: str) -> None:
    """Copy what the plan names and is there into `folder`, and make its tables, figures and README.

    The folder has the form of the repository, so that `tabulate` and `plot` can read it. What it has of
    other cells stays. `command` is what trained them, on `hardware`.
    """
    plan = read_tables_plan(paths.tables_plan(benchmark))
    copied = [paths.tables_plan(benchmark), Path("params.yaml")]
    for bundle in plan.bundles:
        for member in bundle.members:
            place = (benchmark, bundle.imbalance, bundle.bundle, member.member)
            if paths.cell_report(*place).is_file():
                kept = [paths.model(*place) / name for name in KEPT]
                copied += [paths.cell_report(*place), *(path for path in kept if path.is_file())]
    for path in copied:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path)
    tabulate(benchmark, incomplete=True, results=folder)
    plot(benchmark, incomplete=True, results=folder)
    page(benchmark, incomplete=True, results=folder)
    write_readme(folder, benchmark, command, hardware)


def write_readme(folder: Path, benchmark: str, command: str, hardware: str) -> None:
    """What is in `folder`: command, hardware, versions, and a line for every cell."""
    with paths.within(folder):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        report_path, model_path = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
        found, failures = read_reports(plan, report_path, model_path, partial=True)
        reports = {report.cell: report for report in found}
        lines = [["cell", "iterations", "device", "minutes", "test accuracy, last weights"]]
        minutes: dict[str, float] = {}  # of each training: two variants can come to the same
        for bundle in plan.bundles:
            for member in bundle.members:
                if report := reports.get(member.cell(bundle)):
                    timing = model_path(bundle.imbalance, bundle.bundle, member.member) / "timing.json"
                    seconds = json.loads(timing.read_text(encoding="utf-8"))["seconds"]
                    minutes[report.fingerprint] = seconds / 60
                    lines.append(
                        [
                            *(report.cell, str(report.iterations), report.device),
                            *(f"{seconds / 60:.1f}", f"{report.accuracy['all']:.1f}"),
                        ]
                    )
        versions = {
            ", ".join(f"{name} {value}" for name, value in report.versions.items())
            for report in reports.values()
        }
        cells = sum(len(bundle.members) for bundle in plan.bundles)
        conditions = [
            f"`{command}`: {hardware}, {date.today():%Y-%m-%d}; {'; '.join(sorted(versions))}.",
            f"Schedules of {plan.schedule_fraction:.3g} of full length{plan.networks_trained}. "
            f"{sum(minutes.values()):.1f} minutes of training, not counting the prediction of test images.",
            f"`params.yaml`: the settings. `reports/{benchmark}/`: tables and figures. To rebuild them: "
            f"`python -m stages.tabulate --benchmark {benchmark} --partial --results {folder}`.",
        ]
        heading = f"# {benchmark}: {len(reports)} of {cells} planned cells"
        conditions += [
            f"FAILED: {failure.cell}, iteration {failure.iteration}: {failure.failed}" for failure in failures
        ]
        parts = [heading, "\n".join(f"- {line}" for line in conditions), aligned(lines, left=1)]
        write_text(Path("README.md"), "\n\n".join(parts) + "\n")
