"""Tables: cell reports in the rows of a layout, next to the paper's numbers."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from longtail.config.layouts import COPIED, NOT_PLANNED, NOT_YET, Row, TableLayout
from longtail.planning.plans import TablesPlan, bundle_name, represented
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.differences import (
    Differences,
    judgement_cells,
    last_scores,
    selected_scores,
    split_differences,
)
from longtail.reporting.intervals import Interval, mean_interval
from longtail.reporting.paper import NOT_RUN, Comparison, Numbers, paper_numbers
from longtail.reporting.reports import CellReport, FailedReport, Scores

Report = TypeVar("Report", CellReport, FailedReport)

HEADINGS = {"all": "All", "many": "Many", "medium": "Med", "few": "Few"}


@dataclass(frozen=True)
class Column:
    """A column group: an imbalance and a network."""

    imbalance: float
    network: str


Entry = Mapping[str, Interval | None]
"""Accuracy in percent by split; None: no class in that shot group."""
Entries = Mapping[tuple[str, str], list[Entry | None]]
"""By row group and row label, an entry for each column; None if no cell is there, or one failed."""
TableDifferences = Mapping[tuple[str, str], list[Differences | None]]
"""By row group and row label, the differences in each column; None for the reference itself, and where it or
the row has no entry or they share no seed. Holm's correction is over the rows of a column, by split."""


@dataclass(frozen=True)
class Table:
    """A layout with our numbers and the paper's."""

    layout: TableLayout
    plan: TablesPlan
    columns: list[Column]
    entries: Entries
    """For the weights after the last iteration, which tables show."""
    selected: Entries
    """For the weights that did best on the meta set."""
    differences: TableDifferences
    """To the layout's reference, of the weights after the last iteration."""
    selected_differences: TableDifferences
    """Likewise, of the weights that did best on the meta set."""
    paper: Numbers
    """Empty if the paper's table is about other data."""
    reports: list[CellReport]
    """Those that fill the table."""
    lambda_: float | None
    """Of the rows "Ours"."""
    planned: int
    """Cells planned for the table."""
    absent: int
    """Planned cells that were not run."""
    failures: list[FailedReport]
    """Failed cells of the table."""

    @property
    def seeds(self) -> int:
        """Seeds of the entry with most of them."""
        return len({report.seed for report in self.reports})

    def empty(self, row: Row, column: Column) -> str:
        """Why a place is empty."""
        if row.copied:
            return COPIED
        planned = count_planned(self.plan, row, column)
        if failed := len(self.failed(row, column)):
            return f"failed ({failed} of {planned})"
        if row.variant is None:
            return NOT_YET
        return NOT_RUN if planned else NOT_PLANNED

    def failed(self, row: Row, column: Column) -> list[FailedReport]:
        """The seeds of a place that failed."""
        return select(self.failures, row, column.imbalance, column.network)

    def compare(self, row: Row, column: Column, split: str, entry: Entry | None) -> Comparison:
        """The paper's number in a place, compared with `entry`."""
        paper = self.paper.get((row.label, column.imbalance, column.network, split))
        failed = bool(self.failed(row, column))
        return Comparison(paper, entry[split] if entry else None, self.plan.shortened, failed)

    def comparisons(self) -> list[Comparison]:
        """Everything that the paper prints, compared with the weights after the last iteration."""
        return [
            self.compare(row, column, split, entry)
            for group in self.layout.groups
            for row in group.rows
            for column, entry in zip(self.columns, self.entries[group.name, row.label], strict=True)
            for split in self.printed_splits(column)
        ]

    def printed_splits(self, column: Column) -> list[str]:
        """The splits of which the paper prints anything in `column`, in the layout's order."""
        printed = {split for _, *place, split in self.paper if place == [column.imbalance, column.network]}
        return [split for split in self.layout.splits if split in printed]


def select(reports: Sequence[Report], row: Row, imbalance: float, network: str | None = None) -> list[Report]:
    """The seeds of `row` at `imbalance`, trained or failed; with one network, or any."""
    return [
        report
        for report in reports
        if row.variant is not None
        and (report.variant, report.head, report.imbalance) == (row.variant, row.head, imbalance)
        and network in (None, report.network)
    ]


def whole(
    reports: Sequence[CellReport], failures: Sequence[FailedReport], row: Row, column: Column
) -> list[CellReport]:
    """The seeds of `row` in `column`; none if one of them failed."""
    place = (row, column.imbalance, column.network)
    return [] if select(failures, *place) else select(reports, *place)


def differences(
    rows: Mapping[tuple[str, str], Sequence[Sequence[CellReport]]],
    references: Sequence[Sequence[CellReport]],
    scores: Callable[[CellReport], Scores] = last_scores,
) -> TableDifferences:
    """The differences of `rows` to the reference; both have the reports of each column."""
    columns = [
        split_differences([(cells[index], reference) for cells in rows.values()], scores)
        for index, reference in enumerate(references)
    ]
    return {place: [column[index] for column in columns] for index, place in enumerate(rows)}


def count_planned(plan: TablesPlan, row: Row, column: Column) -> int:
    """How many seeds of `row` in `column` are planned."""
    if row.variant is None:
        return 0
    named = bundle_name(plan, column.network, row.variant)
    return sum(
        member.head == row.head
        for bundle in plan.bundles
        if (represented(bundle.bundle), bundle.imbalance) == (named, column.imbalance)
        for member in bundle.members
    )


def summarise(seeds: Sequence[Scores]) -> Entry:
    """Mean and interval over the seeds of one row and column, by split."""
    entry: dict[str, Interval | None] = {}
    for split in SPLITS:
        values = [value for scores in seeds if (value := scores.accuracy[split]) is not None]
        entry[split] = mean_interval(values) if values else None
    return entry


def fill(
    layout: TableLayout,
    plan: TablesPlan,
    reports: Sequence[CellReport],
    failures: Sequence[FailedReport] = (),
) -> Table:
    """Put the numbers of `reports` into `layout`; a place with a failed seed stays empty."""
    descending = sorted(plan.imbalances, reverse=True)
    imbalances = descending if layout.columns == "imbalances" else descending[:1]
    networks = plan.networks if layout.columns == "networks" else plan.networks[:1]
    columns = [Column(imbalance, network) for imbalance in imbalances for network in networks]
    entries: dict[tuple[str, str], list[Entry | None]] = {}
    selected: dict[tuple[str, str], list[Entry | None]] = {}
    compared: dict[tuple[str, str], list[list[CellReport]]] = {}
    used: list[CellReport] = []
    failed: dict[str, FailedReport] = {}
    planned = absent = 0
    for group in layout.groups:
        for row in group.rows:
            place = (group.name, row.label)
            found = [whole(reports, failures, row, column) for column in columns]
            compared[place] = [[]] * len(columns) if row.same_cells(layout.reference) else found
            for column in columns:
                bad = select(failures, row, column.imbalance, column.network)
                failed |= {failure.cell: failure for failure in bad}
                there = len(select(reports, row, column.imbalance, column.network)) + len(bad)
                wanted = count_planned(plan, row, column)
                planned, absent = planned + wanted, absent + wanted - there
            entries[place] = [summarise(cells) if cells else None for cells in found]
            selected[place] = [summarise([c.selected for c in cells]) if cells else None for cells in found]
            used.extend(cell for cells in found for cell in cells)
    ours = [report for report in reports if (report.variant, report.head) == ("difficulty_net", None)]
    shown = ours and any(report.variant == "difficulty_net" for report in used)
    lambda_ = ours[0].settings.get("lambda") if shown else None
    references = [whole(reports, failures, layout.reference, column) for column in columns]
    return Table(
        layout=layout,
        plan=plan,
        columns=columns,
        entries=entries,
        selected=selected,
        differences=differences(compared, references),
        selected_differences=differences(compared, references, selected_scores),
        paper=paper_numbers(layout.number, plan.benchmark),
        reports=used,
        lambda_=lambda_,
        planned=planned,
        absent=absent,
        failures=[*failed.values()],
    )


COLUMNS = [
    *("table", "group", "row", "variant", "head", "imbalance", "network", "split", "weights"),
    *("mean", "low", "high", "seeds", "status", "paper", "difference", "tolerance", "verdict"),
    *("reference", "vs_reference", "vs_low", "vs_high", "vs_seeds", "p", "p_holm", "word", "p_mcnemar"),
]


def long_csv(table: Table) -> str:
    """One line per row, column, split and weights (`last`, `selected`), in percent.

    `status` says why a line has no numbers. `paper` is the printed number, and what follows up to `verdict` a
    `Comparison` with it; empty where the paper prints none. From `reference` on: the `Judgement` on the
    difference to that row; empty where there is none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group in table.layout.groups:
        for row in group.rows:
            names = [table.layout.number, group.name, row.label, row.variant or "", row.head or ""]
            for index, column in enumerate(table.columns):
                for split in table.layout.splits:
                    for weights, entries, found in (
                        ("last", table.entries, table.differences),
                        ("selected", table.selected, table.selected_differences),
                    ):
                        entry = entries[group.name, row.label][index]
                        judged = found[group.name, row.label][index]
                        place = [f"{column.imbalance:g}", column.network, split, weights]
                        numbers = csv_cells(table, row, column, split, entry)
                        compared = judgement_cells(judged[split] if judged else None)
                        writer.writerow([*names, *place, *numbers, table.layout.reference.label, *compared])
    return text.getvalue()


def csv_cells(table: Table, row: Row, column: Column, split: str, entry: Entry | None) -> list[str]:
    """What follows the place of a number in `long_csv`, up to the comparison with the paper."""

    def fixed(*values: float | None) -> list[str]:
        return ["" if value is None else f"{value:.4f}" for value in values]

    found = table.compare(row, column, split, entry)
    ours = found.ours
    status = "" if ours else "empty group" if entry else table.empty(row, column)
    ends = (ours.mean, ours.low, ours.high) if ours else (None,) * 3
    return [
        *fixed(*ends),
        str(ours.seeds if ours else 0),
        status,
        "" if found.paper is None else str(found.paper),
        *fixed(found.difference, found.tolerance),
        found.verdict,
    ]


def metrics(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    """The filled rows of a table: means over all and few-shot classes, percent, by imbalance and variant."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    several = len({column.network for column in table.columns}) > 1
    for group in table.layout.groups:
        for row in group.rows:
            for column, entry in zip(table.columns, table.entries[group.name, row.label], strict=True):
                if entry:
                    means = {
                        split: round(value.mean, 4)
                        for split in ("all", "few")
                        if (value := entry[split]) is not None
                    }
                    full = f"{column.network}-{row.name}" if several else row.name
                    result.setdefault(f"imb{column.imbalance:g}", {})[full] = means
    return result
