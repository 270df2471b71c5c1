"""From cell reports and histories to figures."""

from functools import partial
from pathlib import Path

from longtail.config.layouts import read_layouts
from longtail.errors import and_more
from longtail.files import atomic_path
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies
from longtail.pipeline.studies import read_courses
from longtail.planning.plans import read_tables_plan
from longtail.reporting import figures
from longtail.reporting.figures.curves import curves_rows
from longtail.reporting.figures.drawing import csv_text
from longtail.reporting.figures.words import boxes
from longtail.reporting.reports import read_reports
from longtail.reporting.study import missing_cells


@remedies("run `dvc repro`")
def plot(benchmark: str, incomplete: bool = False, results: Path = Path()) -> None:
    """Write figures and curves.csv into `results`/reports/<benchmark>. Raises InputError.

    `incomplete`: leave out cells that are missing or of another plan, and figures that need them.
    """
    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        layouts = read_layouts().of(benchmark).figures
        report_path, model_path = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
        found, failures = read_reports(plan, report_path, model_path, incomplete)
        lost = {(failure.imbalance, failure.network, failure.variant, failure.head) for failure in failures}
        reports = [r for r in found if (r.imbalance, r.network, r.variant, r.head) not in lost]
        console.say("plot", f"{benchmark}: {len(layouts)} figures from {len(reports)} cells")
        for failure in failures:
            console.say("plot", f"{failure.cell} FAILED: left out, with the other seeds of its curve")
        study = figures.Study(plan, reports, read_courses(plan, reports))
        if lacking := boxes(study.class_names):
            console.say(
                "plot",
                f"no installed font has {and_more(lacking, 10, '')} of the class names, boxes stand there; "
                "install one (Noto, say) and run the stage again",
            )
        made = {"curves.csv": csv_text(curves_rows(study)).encode()}
        there = {report.cell for report in (*found, *failures)}
        drawn = [layout for layout in layouts if not missing_cells(layout, study, there)]
        for layout in drawn:
            for ending, content in figures.render(figures.draw(layout, study)).items():
                made[f"figure{layout.number}.{ending}"] = content
        for name, content in made.items():  # only once all of them could be drawn
            with atomic_path(paths.report(benchmark, name)) as temporary:
                temporary.write_bytes(content)
        for layout in layouts:
            if layout not in drawn:  # what was drawn from other cells would pass for one of these
                for ending in ("svg", "png", "csv"):
                    paths.report(benchmark, f"figure{layout.number}.{ending}").unlink(missing_ok=True)
                lacking = missing_cells(layout, study, there)
                console.say(
                    "plot",
                    f"figure {layout.number} not drawn: {len(lacking)} cells not run, {lacking[0]} first",
                )
    folder = results / paths.report(benchmark, "curves.csv").parent
    console.done("plot", f"{folder}: curves.csv and {len(drawn)} of {len(layouts)} figures")
