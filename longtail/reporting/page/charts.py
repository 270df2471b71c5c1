"""The numbers behind the page's charts, as its script reads them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from longtail.config.layouts import Layouts, Row
from longtail.reporting.claims_text import column_name
from longtail.reporting.comparisons import Judgement
from longtail.reporting.differences import class_differences
from longtail.reporting.intervals import FEW_SEEDS
from longtail.reporting.page.tables_part import column_text
from longtail.reporting.reports import CellReport, FailedReport
from longtail.reporting.study import CURVES, Course, Study, stacked
from longtail.reporting.table_text import signed
from longtail.reporting.tables import Column, Table, whole

DRAWN_FIRST = ("cross_entropy", "difficulty_net")
"""The rows whose lines the page starts with."""
SEED_NUMBERS = 150_000
"""Of single seeds, so many numbers may be on the page for each chart, about a megabyte."""


def chart_data(
    study: Study, failures: Sequence[FailedReport], tables: Sequence[Table], layouts: Layouts
) -> dict[str, Any]:
    """`forests`: differences by table; `rows`: by column, accuracy of each class and training curves."""
    plan = study.plan
    columns = [
        Column(imbalance, network)
        for imbalance in sorted(plan.imbalances, reverse=True)
        for network in plan.networks
    ]
    rows = {row.name: row for row in layouts.rows}
    found = [
        {"name": name, "label": layouts.label(row), "columns": places}
        for name, row in rows.items()
        if any(places := [row_data(study, failures, row, tables[0], column) for column in columns])
    ]
    return {
        "columns": [column_name(plan, column) for column in columns],
        "classes": study.class_names,
        "counts": [class_counts(study.reports, column) for column in columns],
        "reference": tables[0].layout.reference.label,
        "reference_name": tables[0].layout.reference.name,
        "first": [name for name in DRAWN_FIRST if name in {row["name"] for row in found}],
        "curves": CURVES,
        "rows": found,
        "forests": [forest_data(table) for table in tables],
    }


def class_counts(reports: Sequence[CellReport], column: Column) -> list[int]:
    """The training images of each class."""
    return next((report.counts for report in reports if report.imbalance == column.imbalance), [])


def row_data(
    study: Study, failures: Sequence[FailedReport], row: Row, table: Table, column: Column
) -> dict[str, Any] | None:
    """Accuracy of each class, its differences to the reference of `table`, and curves; means over seeds.

    Then the seeds themselves, if there are few. None where no cell of the row is there, or one failed.
    """
    cells = whole(study.reports, failures, row, column)
    if not cells:
        return None
    reference = table.layout.reference
    others = [] if row.same_cells(reference) else whole(study.reports, failures, reference, column)
    courses = study.cells(row, column.imbalance, column.network)
    return {
        "seeds": [cell.seed for cell in cells],
        "accuracy": [mean(values) for values in zip(*(cell.per_class for cell in cells), strict=True)],
        "differences": [judged_data(one) for one in class_differences(cells, others)],
        "iterations": courses[0].iteration.tolist(),
        "curves": [short(stacked(courses, curve).mean(axis=0)) for curve in CURVES],
        **seeds_data(study, cells, courses),
    }


def seeds_data(study: Study, cells: Sequence[CellReport], courses: Sequence[Course]) -> dict[str, Any]:
    """Accuracy of each class and curves, by seed; nothing if there are many.

    To keep the page small, classes are left out where they are many, and curves have every n-th epoch.
    """
    few = 1 < len(cells) <= FEW_SEEDS
    classes = few and len(study.reports) * len(study.class_names) <= SEED_NUMBERS
    epochs = len(courses[0].iteration)
    shown = slice(None, None, math.ceil(len(study.reports) * epochs * len(CURVES) / SEED_NUMBERS))
    return {
        "accuracy_by_seed": [[mean([value]) for value in cell.per_class] for cell in cells]
        if classes
        else [],
        "iterations_by_seed": courses[0].iteration[shown].tolist() if few else [],
        "curves_by_seed": [
            [short(course.curves[curve][shown], 4) for curve in CURVES] for course in (courses if few else [])
        ],
    }


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are there, to two decimals."""
    present = [value for value in values if value is not None]
    return round(math.fsum(present) / len(present), 2) if present else None


def short(values: np.ndarray, digits: int = 5) -> list[float | None]:
    """Values with so many digits; None for NaN."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]


def judged_data(judged: Judgement | None) -> list[Any] | None:
    """Mean, half-width of the interval (None with one seed) and word of a difference."""
    if judged is None:
        return None
    half = judged.interval.half_width
    return [round(judged.interval.mean, 2), None if half is None else round(half, 2), judged.word]


def forest_data(table: Table) -> dict[str, Any]:
    """The differences of a table's rows to its reference: of each row, by column and split."""
    rows = []
    for group in table.layout.groups:
        for row in group.rows:
            columns = [
                {
                    split: [*(judged_data(judged) or []), signed(judged, table.seeds)]
                    for split, judged in found.items()
                    if judged is not None
                }
                if found
                else {}
                for found in table.differences[group.name, row.label]
            ]
            if any(columns):
                rows.append({"label": row.label, "group": group.name, "columns": columns})
    return {
        "number": table.layout.number,
        "title": table.layout.title,
        "reference": table.layout.reference.label,
        "columns": [column_text(table, column) for column in table.columns],
        "rows": rows,
    }
