"""From cell reports to tables: which cells fill which row, and how a table is written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from longtail.benchmarks import Frozen
from longtail.errors import InputError, one_line
from longtail.intervals import Interval, mean_interval
from longtail.layouts import COPIED, NOT_YET, Row, TableLayout
from longtail.plans import ShotGroupsPlan, TablesPlan
from longtail.presets import METHODS

SPLITS = ("all", "many", "medium", "few")
HEADINGS = {"all": "All", "many": "Many", "medium": "Med", "few": "Few"}
SYMBOLS = {"(dagger)": "†", "(asterisk)": "\\*", "lambda=": "λ = "}
"""How markdown shows what labels spell out."""


class ShotGroups(ShotGroupsPlan):
    """A convention and the class indices that it yields: many, medium, few."""

    members: dict[str, list[int]]


class Scores(Frozen):
    """One set of weights on the test images. `accuracy` by split and `per_class` in percent, `ece` too."""

    accuracy: dict[str, float | None]
    per_class: list[float | None]
    ece: float


class CellReport(Scores):
    """What `evaluate` found out about one cell.

    The scores are those of the weights after the last iteration; `selected` has those of the weights that
    did best on the meta set. Training counts and class names are in class order; None: a group or class
    without test images, or a duration that nobody kept.
    """

    cell: str
    fingerprint: str
    benchmark: str
    imbalance: float
    network: str
    variant: str
    method: str
    head: str | None
    seed: int
    settings: dict[str, Any]
    counts: list[int]
    class_names: list[str]
    groups: ShotGroups
    selected: Scores
    iterations: int
    device: str
    versions: dict[str, Any]


def read_report(path: Path) -> CellReport:
    """Read one cell report. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such report, but the plan names it; run `dvc repro`")
    try:
        return CellReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); run `dvc repro`") from None
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}; run `dvc repro`") from None


def read_reports(
    plan: TablesPlan,
    report_path: Callable[[float, str, str], Path],
    model_path: Callable[[float, str, str], Path],
) -> list[CellReport]:
    """The reports of all cells that `plan` names, in its order, and of no other.

    Both functions map (imbalance, bundle, member) to a path. Raises InputError where a report is missing or
    damaged, is of another cell or another training than the model beside it, or grouped its classes unlike
    the plan, and where the cells of one imbalance did not learn from the same images.
    """
    reports, stale = [], []
    for bundle in plan.bundles:
        for member in bundle.members:
            path = report_path(bundle.imbalance, bundle.bundle, member.member)
            report = read_report(path)
            found = (report.benchmark, report.imbalance, report.variant, report.head, report.seed)
            if found != (plan.benchmark, bundle.imbalance, bundle.variant, member.head, member.seed):
                raise InputError(f"{path}: is of cell '{report.cell}', not the planned one; run `dvc repro`")
            if any(getattr(report.groups, field) != value for field, value in plan.groups):
                raise InputError(
                    f"{path}: shot groups by '{report.groups.convention}' (many > "
                    f"{report.groups.many_above:g}, few {report.groups.few_below:g}), not as planned; "
                    "run `dvc repro`"
                )
            cell = model_path(bundle.imbalance, bundle.bundle, member.member) / "cell.json"
            if cell.is_file() and read_fingerprint(cell) != report.fingerprint:
                stale.append(path)
            reports.append(report)
    if stale:
        raise InputError(
            f"{', '.join(map(str, stale))}: of another training than the model of that name; run `dvc repro`"
        )
    for imbalance in plan.imbalances:
        counts = {tuple(report.counts) for report in reports if report.imbalance == imbalance}
        if len(counts) > 1:
            raise InputError(
                f"reports of imbalance {imbalance:g}: {len(counts)} different training sets; run `dvc repro`"
            )
    return reports


def read_fingerprint(path: Path) -> str:
    """The fingerprint in a cell.json. Raises InputError."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{path}: damaged, no fingerprint in it; run `dvc repro`") from None


@dataclass(frozen=True)
class Column:
    """A column group: an imbalance and a network."""

    imbalance: float
    network: str


Entry = Mapping[str, Interval | None]
"""Accuracy in percent by split; None: no class in that shot group."""


@dataclass(frozen=True)
class Table:
    """A layout with its numbers: `entries[row label, group]` per column, None where no cell is planned."""

    layout: TableLayout
    plan: TablesPlan
    columns: list[Column]
    entries: dict[tuple[str, str], list[Entry | None]]
    reports: list[CellReport]
    """Those that fill the table."""
    lambda_: float | None
    """Of the rows "Ours"."""


def select(
    reports: Sequence[CellReport], row: Row, imbalance: float, network: str | None = None
) -> list[CellReport]:
    """The seeds of `row` at `imbalance`."""
    return [
        report
        for report in reports
        if row.variant is not None
        and (report.variant, report.head, report.imbalance) == (row.variant, row.head, imbalance)
        and network in (None, report.network)
    ]


def summarise(reports: Sequence[CellReport]) -> Entry:
    """Mean and interval over the seeds of one row and column, by split."""
    entry: dict[str, Interval | None] = {}
    for split in SPLITS:
        values = [value for report in reports if (value := report.accuracy[split]) is not None]
        entry[split] = mean_interval(values) if values else None
    return entry


def fill(layout: TableLayout, plan: TablesPlan, reports: Sequence[CellReport]) -> Table:
    """Put the numbers of `reports` into `layout`."""
    descending = sorted(plan.imbalances, reverse=True)
    imbalances = descending if layout.columns == "imbalances" else descending[:1]
    networks = plan.networks if layout.columns == "networks" else plan.networks[:1]
    columns = [Column(imbalance, network) for imbalance in imbalances for network in networks]
    entries: dict[tuple[str, str], list[Entry | None]] = {}
    used: list[CellReport] = []
    for group in layout.groups:
        for row in group.rows:
            found = [select(reports, row, column.imbalance, column.network) for column in columns]
            entries[group.name, row.label] = [summarise(cells) if cells else None for cells in found]
            used.extend(cell for cells in found for cell in cells)
    ours = [report for report in reports if (report.variant, report.head) == ("difficulty_net", None)]
    shown = ours and any(report.variant == "difficulty_net" for report in used)
    lambda_ = ours[0].settings.get("lambda") if shown else None
    return Table(layout, plan, columns, entries, used, lambda_)


def number(interval: Interval | None) -> str:
    """`84.2 ± 1.1`, `84.2` for one seed, `–` for an empty shot group."""
    if interval is None:
        return "–"
    width = "" if interval.half_width is None else f" ± {interval.half_width:.1f}"
    return f"{interval.mean:.1f}{width}"


def symbols(text: str) -> str:
    """`text` as markdown shows it."""
    for word, symbol in SYMBOLS.items():
        text = text.replace(word, symbol)
    return text


def markdown(table: Table) -> str:
    """The table with title, caption and conditions; aligned, so that it reads well unrendered too."""
    layout, plan = table.layout, table.plan
    short = f", schedules shortened to {plan.schedule_fraction:.3g} of full length"
    heading = f"# Table {layout.number}. {symbols(layout.title)}, {plan.benchmark}"
    flags, splits = layout.flags, layout.splits
    lines = [["Method", *flags], ["", *[""] * len(flags)]]
    for column in table.columns:
        name = column.network if layout.columns == "networks" else f"Imbalance {column.imbalance:g}"
        lines[0] += [name, *[""] * (len(splits) - 1)]
        lines[1] += [f"**{HEADINGS[split]}**" for split in splits]
    for group in layout.groups:
        lines.append([f"*{group.name}*", *[""] * (len(lines[0]) - 1)])
        for row in group.rows:
            cells = [symbols(row.label), *(row.flags[flag] for flag in flags)]
            for entry in table.entries[group.name, row.label]:
                if entry is None:
                    cells += ["†" if row.copied else NOT_YET, *[""] * (len(splits) - 1)]
                else:
                    cells += [number(entry[split]) for split in splits]
            lines.append(cells)
    parts = [
        heading + (short if plan.schedule_fraction < 1 else ""),
        symbols(layout.caption),
        aligned(lines, left=1 + len(flags)),
        "\n".join(f"- {line}" for line in conditions(table)),
    ]
    return "\n\n".join(parts) + "\n"


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Rows of cells as a markdown table of even columns, the first `left` ones flush left."""
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def row(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([row(lines[0]), row(rule), *(row(line) for line in lines[1:])])


def seeds_text(reports: Sequence[CellReport]) -> str:
    """`4 seeds (1, 2, 3, 4)`."""
    seeds = sorted({report.seed for report in reports})
    return f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'} ({', '.join(map(str, seeds))})"


def conditions(table: Table) -> list[str]:
    """How the numbers came about, one sentence or two a line."""
    plan, reports = table.plan, table.reports
    if not reports:
        return ["No row of this table has a method yet."]
    ends = sorted({report.iterations for report in reports if report.head is None})
    # a head that fixes its number of iterations trains nothing
    trained_heads = [r for r in reports if r.head and "iterations" not in METHODS[r.head].training]
    heads = sorted({report.iterations for report in trained_heads})
    trained = [f"{'/'.join(map(str, ends))} iterations end to end"] if ends else []
    trained += [f"{'/'.join(map(str, heads))} for retrained classifiers"] if heads else []
    fraction = f" ({plan.schedule_fraction:.3g} of the full schedule)" if plan.schedule_fraction < 1 else ""
    seeds = seeds_text(reports)
    several = len({report.seed for report in reports}) > 1
    lines = [
        f"Benchmark {plan.benchmark}, network {', '.join(sorted({r.network for r in reports}))}; "
        f"{', '.join(trained)}{fraction}; accuracy of the weights after the last iteration.",
        f"Mean over {seeds} ± half-width of the two-sided 95% Student t interval."
        if several
        else f"From {seeds}, so without an interval.",
    ]
    for imbalance in sorted({report.imbalance for report in reports}, reverse=True):
        first = next(report for report in reports if report.imbalance == imbalance)
        sizes = ", ".join(f"{len(first.groups.members[name])} {name}" for name in SPLITS[1:])
        lines.append(
            f"Imbalance {imbalance:g}: N = {sum(first.counts)} training images, "
            f"n_max = {max(first.counts)}, n_min = {min(first.counts)}; classes: {sizes}-shot."
        )
    groups = plan.groups
    sign = "<" if groups.convention == "kang" else "≤"
    lines.append(
        f"Shot groups ({groups.convention}): many n > {groups.many_above:g}, few n {sign} "
        f"{groups.few_below:g} training images, medium the rest; – marks a group without classes."
    )
    if table.lambda_ is not None:
        lines.append(f"Ours: λ = {table.lambda_:g}.")
    if any(row.copied for row in table.layout.rows):
        lines.append(f"† {COPIED}.")
    if any(row.variant is None and not row.copied for row in table.layout.rows):
        lines.append(f"{NOT_YET}: no method for this row.")
    return lines


COLUMNS = ["table", "group", "row", "variant", "head", "imbalance", "network", "split", "mean", "low", "high"]


def long_csv(table: Table) -> str:
    """One line per row, column and split; `status` says why a line has no numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "seeds", "status"])
    for group in table.layout.groups:
        for row in group.rows:
            for column, entry in zip(table.columns, table.entries[group.name, row.label], strict=True):
                names = [table.layout.number, group.name, row.label, row.variant or "", row.head or ""]
                for split in table.layout.splits:
                    interval = entry[split] if entry else None
                    ends = (interval.mean, interval.low, interval.high) if interval else (None,) * 3
                    status = "" if interval else "empty group" if entry else COPIED if row.copied else NOT_YET
                    writer.writerow(
                        [*names, f"{column.imbalance:g}", column.network, split]
                        + ["" if value is None else f"{value:.4f}" for value in ends]
                        + [interval.seeds if interval else 0, status]
                    )
    return text.getvalue()


def headline(table: Table) -> str:
    """The filled rows with All and Few per imbalance, for a terminal."""
    lines = [
        ["", *(f"imb {c.imbalance:g} {HEADINGS[split]}" for c in table.columns for split in ("all", "few"))]
    ]
    for group in table.layout.groups:
        filled = [row for row in group.rows if any(table.entries[group.name, row.label])]
        if filled:
            lines.append([group.name, *[""] * (len(lines[0]) - 1)])
        for row in filled:
            cells = [f"  {row.label}"]
            for entry in table.entries[group.name, row.label]:
                cells += [number(entry[split]) for split in ("all", "few")] if entry else [NOT_YET, ""]
            lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def metrics(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    """The filled rows of a table: means over all and few-shot classes, percent, by imbalance and variant."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for group in table.layout.groups:
        for row in group.rows:
            name = f"{row.variant}+{row.head}" if row.head else str(row.variant)
            for column, entry in zip(table.columns, table.entries[group.name, row.label], strict=True):
                if entry:
                    means = {
                        split: round(value.mean, 4)
                        for split in ("all", "few")
                        if (value := entry[split]) is not None
                    }
                    result.setdefault(f"imb{column.imbalance:g}", {})[name] = means
    return result
