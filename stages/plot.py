"""Figures 1-4 with the numbers behind them, and the training curves of all cells for `dvc plots`."""

from __future__ import annotations

from functools import partial as bind
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longtail.pipeline import console, paths
from stages.tabulate import PARTIAL, RESULTS

if TYPE_CHECKING:
    from longtail.config.layouts import FigureLayout
    from longtail.reporting.figures.study import Study


def curves_rows(study: Study) -> list[list[Any]]:
    """Loss, entropy and meta accuracy (0..1) by iteration: means over seeds of every planned row."""
    import numpy as np

    from longtail.config.layouts import Row
    from longtail.reporting.figures.study import CURVES, stacked

    rows: list[list[Any]] = [["cell", "variant", "head", "imbalance", "iteration", *CURVES]]
    several = len(study.plan.networks) > 1
    seen = dict.fromkeys((r.imbalance, r.network, r.variant, r.head) for r in study.reports)
    for imbalance, network, variant, head in seen:
        parts = [paths.imbalance_name(imbalance), *([network] if several else []), variant]
        name = "-".join([*parts, *([head] if head else [])])
        cells = study.cells(Row(label=name, variant=variant, head=head), imbalance, network)
        means = np.stack([stacked(cells, curve).mean(axis=0) for curve in CURVES], axis=1)
        rows += [
            [name, variant, head, f"{imbalance:g}", int(step), *map(float, values)]
            for step, values in zip(cells[0].iteration, means, strict=True)
        ]
    return rows


def missing_cells(layout: FigureLayout, study: Study, found: set[str]) -> list[str]:
    """The planned cells that the figure shows and that are not `found`."""
    wanted = {curve.variant for curve in layout.curves}
    imbalances = study.plan.imbalances if layout.number == 1 else [study.imbalance]
    planned = [
        member.cell(bundle)
        for bundle in study.plan.bundles
        if bundle.variant in wanted and bundle.imbalance in imbalances
        for member in bundle.members
        if member.head is None
    ]
    return [name for name in planned if name not in found]


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
    partial: Annotated[bool, typer.Option("--partial", help=PARTIAL)] = False,
    results: Annotated[Path, typer.Option(help=RESULTS)] = Path(),
) -> None:
    """Write reports/<benchmark>/figure1..4 as svg, png and csv, and curves.csv."""
    from longtail.config.layouts import read_layouts
    from longtail.files import atomic_path
    from longtail.planning.plans import read_tables_plan
    from longtail.reporting import figures
    from longtail.reporting.figures.drawing import csv_text
    from longtail.reporting.reports import read_reports

    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        layouts = read_layouts().of(benchmark).figures
        report_path, model_path = (bind(path, benchmark) for path in (paths.cell_report, paths.model))
        found, failures = read_reports(plan, report_path, model_path, partial)
        lost = {(failure.imbalance, failure.network, failure.variant, failure.head) for failure in failures}
        reports = [r for r in found if (r.imbalance, r.network, r.variant, r.head) not in lost]
        console.say("plot", f"{benchmark}: {len(layouts)} figures from {len(reports)} cells")
        for failure in failures:
            console.say("plot", f"{failure.cell} FAILED: left out, with the other seeds of its curve")
        folders = {
            member.cell(bundle): model_path(bundle.imbalance, bundle.bundle, member.member)
            for bundle in plan.bundles
            for member in bundle.members
        }
        courses = {
            report.cell: figures.read_course(folders[report.cell] / "history.parquet", report)
            for report in reports
        }
        study = figures.Study(plan, reports, courses)
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


if __name__ == "__main__":
    console.run(main)
