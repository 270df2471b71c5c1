"""Layouts: the rows of each table and the curves of each figure, with the variants that fill them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from longtail.config.presets import VARIANTS
from longtail.config.presets.preset import did_you_mean
from longtail.config.records import Frozen
from longtail.config.yaml_files import read_yaml
from longtail.errors import InputError, one_line

NOT_YET = "not yet"
NOT_PLANNED = "not planned"
COPIED = "copied in the paper, not run here"


class Row(Frozen):
    """One row of a table, or one curve of a figure, in the paper's words.

    `variant` None: no method fills it yet. `copied`: the paper copied the number from another paper. `flags`:
    the marks of the row by tick column.
    """

    label: str
    variant: str | None
    head: str | None = None
    copied: bool = False
    flags: dict[str, str] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its cells, whatever it is called: `difficulty_net`, `difficulty_net+crt`."""
        return f"{self.variant}+{self.head}" if self.head else str(self.variant)

    def same_cells(self, other: Row) -> bool:
        """Whether both rows are filled by the same cells, whatever they are called."""
        return (self.variant, self.head) == (other.variant, other.head)

    @field_validator("variant")
    @classmethod
    def _variant(cls, value: str | None) -> str | None:
        return None if value == NOT_YET else value

    @model_validator(mode="after")
    def _known(self) -> Row:
        for name, stage in ((self.variant, "represent"), (self.head, "retrain")):
            known = [variant for variant, preset in VARIANTS.items() if preset.stage == stage]
            if name is not None and name not in known:
                raise ValueError(f"no variant '{name}' in stage {stage}: {did_you_mean(name, known)}")
        if self.variant is None and self.head is not None:
            raise ValueError("a head needs a variant for its features")
        if self.variant is not None and self.copied:
            raise ValueError("a copied row is not run, so no variant fills it")
        return self


CROSS_ENTROPY = Row(label="Cross-entropy", variant="cross_entropy")


class RowGroup(Frozen):
    """Rows under one heading."""

    name: str
    rows: list[Row] = Field(min_length=1)


class TableLayout(Frozen):
    """One table. `columns`: a column group per imbalance; or, at the largest imbalance, one per network, or a
    single one with the shot groups first."""

    number: int = Field(ge=1)
    benchmarks: tuple[str, ...]
    """Those of which it is the paper's table."""
    title: str
    caption: str
    columns: Literal["imbalances", "networks", "groups"]
    groups: list[RowGroup] = Field(min_length=1)
    reference: Row = CROSS_ENTROPY
    """What differences are taken to. It need not be a row of this table, but of some table or figure."""

    @property
    def rows(self) -> list[Row]:
        """All rows in order."""
        return [row for group in self.groups for row in group.rows]

    @property
    def splits(self) -> tuple[str, ...]:
        """The columns within a column group, in the paper's order."""
        first_all = ("all", "many", "medium", "few")
        return first_all if self.columns != "groups" else (*first_all[1:], "all")

    @property
    def flags(self) -> list[str]:
        """The names of the tick columns."""
        return list(self.rows[0].flags)

    @model_validator(mode="after")
    def _consistent(self) -> TableLayout:
        for group in self.groups:
            labels = [row.label for row in group.rows]
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice:
                raise ValueError(f"row '{twice}' appears twice under '{group.name}'")
        for row in self.rows:
            if list(row.flags) != self.flags:
                raise ValueError(f"row '{row.label}' has other flags than the first row")
        return self


class FigureLayout(Frozen):
    """One figure and its curves (in Figure 4, panels), in the order in which they are drawn."""

    number: int = Field(ge=1)
    benchmarks: tuple[str, ...]
    """Those of which it is the paper's figure."""
    title: str
    curves: list[Row] = Field(min_length=1)

    @property
    def rows(self) -> list[Row]:
        """The curves."""
        return self.curves


class Layouts(Frozen):
    """All tables and figures."""

    tables: list[TableLayout]
    figures: list[FigureLayout]

    def of(self, benchmark: str) -> Layouts:
        """The tables and figures of `benchmark` in the paper; all of them for data that the paper lacks."""
        if not any(benchmark in part.benchmarks for part in (*self.tables, *self.figures)):
            return self
        return Layouts(
            tables=[table for table in self.tables if benchmark in table.benchmarks],
            figures=[figure for figure in self.figures if benchmark in figure.benchmarks],
        )

    @property
    def rows(self) -> list[Row]:
        """All rows and curves that cells fill, in order."""
        return [row for part in (*self.tables, *self.figures) for row in part.rows if row.variant]

    def row(self, name: str) -> Row:
        """The first row or curve whose label or `Row.name` is `name`, in any case. Raises InputError."""

        def key(text: str) -> str:
            return text.lower().replace(" ", "")

        backwards = self.rows[::-1]
        found = {key(row.label): row for row in backwards} | {key(row.name): row for row in backwards}
        if key(name) not in found:
            raise InputError(f"row '{name}'", "no such row", did_you_mean(name, self.names()))
        return found[key(name)]

    def names(self) -> list[str]:
        """All that `row` understands."""
        return [*dict.fromkeys(name for row in self.rows for name in (row.name, row.label))]

    def label(self, row: Row) -> str:
        """What the first row or curve with the cells of `row` is called; if there is none, what it is."""
        return next((other.label for other in self.rows if other.same_cells(row)), row.label)

    def needed(self) -> dict[str, tuple[str, ...]]:
        """The variants that fill a row or a curve, each with the heads on its features."""
        rows = [row for part in (*self.tables, *self.figures) for row in part.rows]
        heads: dict[str, set[str]] = {}
        for row in rows:
            if row.variant is not None:
                heads.setdefault(row.variant, set()).update({row.head} if row.head else {})
        return {
            variant: tuple(head for head in VARIANTS if head in heads[variant])
            for variant in VARIANTS
            if variant in heads
        }


def read_layouts(path: Path | None = None) -> Layouts:
    """Read `path`, by default the paper's layouts. Raises InputError."""
    where = path or "longtail/config/tables.yaml"
    found = read_yaml(path or files("longtail.config") / "tables.yaml", where)
    try:
        return Layouts.model_validate(found)
    except ValidationError as error:
        raise InputError(where, one_line(error)) from None
