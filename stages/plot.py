"""Figures 1-4 with the numbers behind them, and the training curves of all cells for `dvc plots`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages import console, paths

if TYPE_CHECKING:
    from longtail.figures.study import Study


def curves_rows(study: Study) -> list[list[Any]]:
    """Loss, entropy and meta accuracy (0..1) by iteration: means over seeds of every planned row."""
    import numpy as np

    from longtail.figures.study import CURVES, stacked
    from longtail.layouts import Row

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


def main(
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write reports/<benchmark>/figure1..4 as svg, png and csv, and curves.csv."""
    from longtail import figures
    from longtail.atomic import atomic_path
    from longtail.figures.drawing import csv_text
    from longtail.layouts import read_layouts
    from longtail.plans import read_tables_plan
    from longtail.reports import read_reports

    plan = read_tables_plan(paths.tables_plan(benchmark))
    layouts = read_layouts().of(benchmark).figures
    members = [(bundle, member) for bundle in plan.bundles for member in bundle.members]
    console.say("plot", f"{benchmark}: {len(layouts)} figures from {len(members)} cells")
    reports = read_reports(plan, partial(paths.cell_report, benchmark), partial(paths.model, benchmark))
    courses = {
        report.cell: figures.read_course(
            paths.model(benchmark, bundle.imbalance, bundle.bundle, member.member) / "history.parquet", report
        )
        for (bundle, member), report in zip(members, reports, strict=True)
    }
    study = figures.Study(plan, reports, courses)
    made = {"curves.csv": csv_text(curves_rows(study)).encode()}
    for layout in layouts:
        for ending, content in figures.render(figures.draw(layout, study)).items():
            made[f"figure{layout.number}.{ending}"] = content
    for name, content in made.items():  # only once all of them could be drawn
        with atomic_path(paths.report(benchmark, name)) as temporary:
            temporary.write_bytes(content)
    names = [f"figure{layout.number}.png" for layout in layouts] or list(made)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    console.done("plot", f"{paths.report(benchmark, names[0])}{more}")


if __name__ == "__main__":
    console.run(main)
