"""What figures are drawn from: the plan, the reports and the histories of its cells."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from longtail.config.layouts import FigureLayout, Row
from longtail.errors import InputError, flat
from longtail.planning.plans import TablesPlan
from longtail.reporting.reports import CellReport
from longtail.reporting.tables import select
from longtail.training.histories import read_history

Array = npt.NDArray[np.float64]

CURVES = ("train_loss", "entropy", "meta_accuracy")
PER_CLASS = ("accuracy", "difficulty", "weight")


@dataclass(frozen=True)
class Course:
    """One cell's epochs, E of them with epoch 0: `iteration` [E], `curves` [E] and `per_class` [E, C].

    NaN where a method has no such quantity.
    """

    report: CellReport
    iteration: npt.NDArray[np.int64]
    curves: dict[str, Array]
    per_class: dict[str, Array]


def history_of(path: Path, report: CellReport) -> pa.Table:
    """The history at `path`, of the cell of `report`.

    Raises InputError if it is missing, damaged, another's, or no longer what the report was made beside.
    """
    table = read_history(path, report.fingerprint)
    if report.history not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
        raise InputError(path, "changed since its report was made (sha256)")
    return table


def read_course(path: Path, report: CellReport) -> Course:
    """The history of the cell of `report`. Raises InputError as `history_of`."""
    table = history_of(path, report)
    try:
        return Course(
            report=report,
            iteration=np.array(table["iteration"].to_pylist(), dtype=np.int64),
            curves={name: np.array(table[name].to_pylist(), dtype=np.float64) for name in CURVES},
            per_class={name: matrix(table[name].to_pylist(), len(report.counts)) for name in PER_CLASS},
        )
    except (ValueError, TypeError) as error:
        raise InputError(path, flat(error)) from None


def matrix(rows: Sequence[Sequence[float] | None], classes: int) -> Array:
    """Rows of `classes` values each as [E, C]; a null row is NaN. Raises ValueError on another length."""
    if not rows:
        raise ValueError("not a single epoch in it")
    filled = [[np.nan] * classes if row is None else row for row in rows]
    if any(len(row) != classes for row in filled):
        raise ValueError(f"a row has not one value for each of {classes} classes")
    return np.array(filled, dtype=np.float64)


@dataclass(frozen=True)
class Study:
    """Everything that figures are drawn from."""

    plan: TablesPlan
    reports: list[CellReport]
    courses: dict[str, Course]
    """By the name of the cell."""

    @property
    def class_names(self) -> list[str]:
        """Of the data set, by class; none where there is no report."""
        return self.reports[0].class_names if self.reports else []

    @property
    def imbalance(self) -> float:
        """That of Figures 2-4: the paper's 100 where it is planned, else the largest."""
        return 100 if 100 in self.plan.imbalances else max(self.plan.imbalances)

    def cells(self, row: Row, imbalance: float | None = None, network: str | None = None) -> list[Course]:
        """The seeds of a curve at `imbalance`, by default that of Figures 2-4; all over the same iterations.

        `network` where there are several.

        Raises InputError if they are not.
        """
        chosen = self.imbalance if imbalance is None else imbalance
        found = [self.courses[report.cell] for report in select(self.reports, row, chosen, network)]
        if len({tuple(course.iteration) for course in found}) > 1:
            name = f"{row.variant} at imbalance {chosen:g}"
            raise InputError(f"histories of {name}", "its seeds have different epochs")
        return found


def stacked(courses: Sequence[Course], name: str) -> Array:
    """One curve of all seeds, [seeds, E] or [seeds, E, C]."""
    return np.stack([{**course.curves, **course.per_class}[name] for course in courses])


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
