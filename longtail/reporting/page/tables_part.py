"""Tables as the page shows them: one cell for every number, with what sorts and filters it."""

from dataclasses import dataclass, field

from longtail.config.layouts import Row
from longtail.reporting.table_text import conditions, number, tail_name, to_reference
from longtail.reporting.tables import HEADINGS, Column, Table


@dataclass(frozen=True)
class Heading:
    """Of a column of cells: `kind` is here, difference, paper or verdict."""

    over: str
    text: str
    kind: str
    split: str
    imbalance: str
    network: str


@dataclass(frozen=True)
class Shown:
    """A cell: its text, the number that sorts it, and the word on it."""

    text: str
    value: float | None = None
    word: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table with a cell for each heading."""

    group: str
    row: Row
    cells: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class TablePart:
    """A table with its headings, its lines and the conditions under it."""

    table: Table
    headings: list[Heading]
    lines: list[Line]
    notes: list[str]


def column_text(table: Table, column: Column) -> str:
    """What a column group is called."""
    if table.layout.columns == "networks":
        return column.network
    return tail_name(table.plan.benchmark, column.imbalance)


def table_part(table: Table) -> TablePart:
    """Everything that the page shows of `table`."""
    places = [
        (index, split, kind)
        for index, column in enumerate(table.columns)
        for split in table.layout.splits
        for kind in (
            *(["paper", "here", "verdict"] if split in table.printed_splits(column) else ["here"]),
            "difference",
        )
    ]
    headings = [heading(table, table.columns[index], split, kind) for index, split, kind in places]
    lines = [
        Line(group.name, row, [shown(table, group.name, row, *place) for place in places])
        for group in table.layout.groups
        for row in group.rows
    ]
    return TablePart(table, headings, lines, conditions(table))


def heading(table: Table, column: Column, split: str, kind: str) -> Heading:
    """The heading of the cells of one place and kind."""
    name = HEADINGS[split]
    text = {
        "here": name,
        "difference": f"{name} − {table.layout.reference.label}",
        "paper": f"{name}, paper",
        "verdict": f"{name}, verdict",
    }[kind]
    return Heading(column_text(table, column), text, kind, split, f"{column.imbalance:g}", column.network)


def shown(table: Table, group: str, row: Row, index: int, split: str, kind: str) -> Shown:
    """A cell of `row`: of column group `index`, of `kind`."""
    column, entry = table.columns[index], table.entries[group, row.label][index]
    if kind == "difference":
        found = table.differences[group, row.label][index]
        judged = found[split] if found else None
        text = to_reference(table, group, row, index, split)
        return Shown(text, judged.interval.mean if judged else None, judged.word if judged else "")
    if kind == "here":
        if entry is None:
            return Shown("†" if row.copied else table.empty(row, column), word="empty")
        interval = entry[split]
        return Shown(number(interval, table.seeds), interval.mean if interval else None)
    compared = table.compare(row, column, split, entry)
    if kind == "paper":
        return Shown("–") if compared.paper is None else Shown(str(compared.paper), float(compared.paper))
    return Shown(compared.text, compared.difference, compared.verdict)
