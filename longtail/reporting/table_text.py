"""A table as text: markdown with the conditions below it, and its main columns for a terminal."""

from collections.abc import Sequence

from longtail.config.benchmarks import BENCHMARKS
from longtail.config.layouts import COPIED, NOT_PLANNED, NOT_YET, Row
from longtail.config.presets import METHODS
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.comparisons import BETTER, WORSE, Judgement
from longtail.reporting.intervals import Interval
from longtail.reporting.paper import FAILED, LAMBDA, NOT_RUN, label_notes, verdict_notes
from longtail.reporting.reports import CellReport
from longtail.reporting.tables import HEADINGS, Column, Entry, Table

SYMBOLS = {"(dagger)": "†", "(asterisk)": "\\*", "lambda=": "λ = "}
"""Symbols for words in labels, in markdown."""
MARKS = {BETTER: " ▲", WORSE: " ▼"}
"""On differences; undecided ones have none."""


MCNEMAR_NOTE = (
    "In brackets: p of McNemar's exact test, uncorrected, which asks whether these two networks differ "
    "beyond the choice of test images, and not whether other trainings would."
)


def number(interval: Interval | None, seeds: int) -> str:
    """`84.2 ± 1.1`, `84.2` for one seed, `–` for an empty shot group; `84.2 ± 1.1 (2 of 3 seeds)` where
    other places of the table have `seeds` 3.
    """
    if interval is None:
        return "–"
    width = "" if interval.half_width is None else f" ± {interval.half_width:.1f}"
    fewer = f" ({interval.seeds} of {seeds} seeds)" if interval.seeds < seeds else ""
    return f"{interval.mean:.1f}{width}{fewer}"


def signed(judged: Judgement | None, seeds: int, digits: str = ".1f") -> str:
    """`+0.8 ± 1.0`, marked ▲ or ▼ where better or worse; `+0.8 (p = 0.03)`, McNemar's, with one seed."""
    if judged is None:
        return ""
    found = judged.interval
    mean = f"{float(format(found.mean, digits)) + 0.0:+{digits}}"  # + 0.0: no "-0.0"
    width = "" if found.half_width is None else f" ± {found.half_width:{digits}}"
    images = "" if judged.mcnemar is None else f" ({p_value(judged.mcnemar)})"
    fewer = f" ({found.seeds} of {seeds} seeds)" if found.seeds < seeds else ""
    return f"{mean}{width}{images}{MARKS.get(judged.word, '')}{fewer}"


def p_value(p: float) -> str:
    """`p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def to_reference(table: Table, group: str, row: Row, column: int, split: str = "all") -> str:
    """The difference to the table's reference over `split`, as tables show it."""
    if row.same_cells(table.layout.reference):
        return "reference" if table.entries[group, row.label][column] else ""
    found = table.differences[group, row.label][column]
    return signed(found[split], table.seeds) if found else ""


def difference_heading(table: Table) -> str:
    """`All − Cross-entropy`."""
    return f"All − {table.layout.reference.label}"


def symbols(text: str) -> str:
    """`text` as markdown shows it."""
    for word, symbol in SYMBOLS.items():
        text = text.replace(word, symbol)
    return text


def tail_name(benchmark: str, imbalance: float) -> str:
    """`Imbalance 50`; `As they are` for images that keep a long tail of their own."""
    known = BENCHMARKS.get(benchmark)
    natural = known is not None and known.tail == "natural"
    return "As they are" if natural and imbalance == 1 else f"Imbalance {imbalance:g}"


def headings(table: Table, column: Column) -> list[tuple[str, str]]:
    """The upper and the lower heading of everything that stands in a column group, but for the difference."""
    by_network = table.layout.columns == "networks"
    name = column.network if by_network else tail_name(table.plan.benchmark, column.imbalance)
    if not table.paper:
        lower = [HEADINGS[split] for split in table.layout.splits]
        return [(name if i == 0 else "", word) for i, word in enumerate(lower)]
    printed = table.printed_splits(column)
    if not printed:
        return [(name, "Here")]
    found = []
    for split in printed:
        upper = HEADINGS[split] if table.layout.columns == "groups" else name
        found += [(upper, "Paper"), ("", "Here"), ("", "Verdict")]
    return found


def column_cells(table: Table, row: Row, column: Column, entry: Entry | None) -> list[str]:
    """What a row has in a column group, under its `headings`, but for the difference."""
    if not table.paper:
        splits = table.layout.splits
        if entry is None:
            empty = "†" if row.copied else table.empty(row, column)
            return [empty, *[""] * (len(splits) - 1)]
        return [number(entry[split], table.seeds) for split in splits]
    printed = table.printed_splits(column)
    nothing = table.empty(row, column) if table.failed(row, column) else NOT_RUN
    if not printed:
        return [number(entry["all"], table.seeds) if entry else nothing]
    cells = []
    for split in printed:
        found = table.compare(row, column, split, entry)
        paper = "–" if found.paper is None else str(found.paper)
        if entry:
            cells += [paper, number(found.ours, table.seeds), found.text]
        else:
            cells += [paper, nothing if found.failed else "", FAILED if found.failed else NOT_RUN]
    return cells


def markdown(table: Table) -> str:
    """The table with title, caption and conditions; aligned, so that it reads well unrendered too.

    Where the paper's table is of the same data, its numbers stand beside ours, with a verdict on each (see
    `longtail.reporting.paper`), for the splits that it prints.
    """
    layout, plan = table.layout, table.plan
    short = f", schedules shortened to {plan.schedule_fraction:.3g} of full length"
    heading = f"# Table {layout.number}. {symbols(layout.title)}, {plan.benchmark}"
    flags = layout.flags
    difference = ("", symbols(difference_heading(table)))
    above = [pair for column in table.columns for pair in (*headings(table, column), difference)]
    lines = [
        ["Method", *flags, *(upper for upper, _ in above)],
        ["", *[""] * len(flags), *(f"**{lower}**" for _, lower in above)],
    ]
    for group in layout.groups:
        lines.append([f"*{group.name}*", *[""] * (len(lines[0]) - 1)])
        for row in group.rows:
            cells = [symbols(row.label), *(row.flags[flag] for flag in flags)]
            entries = table.entries[group.name, row.label]
            for index, (column, entry) in enumerate(zip(table.columns, entries, strict=True)):
                cells += column_cells(table, row, column, entry)
                cells.append(to_reference(table, group.name, row, index))
            lines.append(cells)
    parts = [
        heading + plan.networks_trained + (short if plan.schedule_fraction < 1 else ""),
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
    """Notes on how the numbers were made, one per line."""
    plan, reports = table.plan, table.reports
    failures = [
        f"FAILED: {failure.cell}, iteration {failure.iteration}: {failure.failed}"
        for failure in table.failures
    ]
    if not reports:
        none = "No row of this table is planned."
        if table.planned:
            none = f"Not run yet: {table.absent} of {table.planned} cells."
        return [*failures, none, *(comparison_notes(table) if table.paper else [])]
    ends = sorted({report.iterations for report in reports if report.head is None})
    # a head that fixes its number of iterations trains nothing
    trained_heads = [r for r in reports if r.head and "iterations" not in METHODS[r.head].training]
    heads = sorted({report.iterations for report in trained_heads})
    trained = [f"{'/'.join(map(str, ends))} iterations end to end"] if ends else []
    trained += [f"{'/'.join(map(str, heads))} for retrained classifiers"] if heads else []
    fraction = f" ({plan.schedule_fraction:.3g} of the full schedule)" if plan.schedule_fraction < 1 else ""
    precision = "" if plan.precision == "float32" else f", computed in {plan.precision}"
    seeds = seeds_text(reports)
    several = len({report.seed for report in reports}) > 1
    lines = failures
    if failures:
        lines.append("A place where a seed failed shows no mean of the others.")
    if table.absent:
        lines.append(
            f"{table.planned - table.absent} of {table.planned} cells are there, the others are not run yet; "
            "the seeds that are there count."
        )
    lines += [
        f"Benchmark {plan.benchmark}, network {', '.join(sorted({r.network for r in reports}))}; "
        f"{', '.join(trained)}{plan.networks_trained}{fraction}{precision}; accuracy of the weights after "
        "the last iteration.",
        f"Mean over {seeds} ± half-width of the two-sided 95% Student t interval."
        if several
        else f"From {seeds}, so without an interval.",
        difference_note(table),
    ]
    for imbalance in sorted({report.imbalance for report in reports}, reverse=True):
        first = next(report for report in reports if report.imbalance == imbalance)
        sizes = ", ".join(f"{len(first.groups.members[name])} {name}" for name in SPLITS[1:])
        lines.append(
            f"{tail_name(plan.benchmark, imbalance)}: N = {sum(first.counts)} training images, "
            f"n_max = {max(first.counts)}, n_min = {min(first.counts)}; classes: {sizes}-shot."
        )
    groups = plan.groups
    sign = "<" if groups.convention == "kang" else "≤"
    rule = (
        f"many n > {groups.many_above:g}, few n {sign} {groups.few_below:g} training images, medium the rest"
    )
    if groups.convention == "mislas_ranges":
        rule = "classes 0–35, 36–70 and 71–99, whatever their counts"
    lines.append(f"Shot groups ({groups.convention}): {rule}; – marks a group without classes.")
    if table.lambda_ is not None:
        other = (
            f"; the paper's numbers have λ = {LAMBDA:g}" if table.paper and table.lambda_ != LAMBDA else ""
        )
        lines.append(f"Ours: λ = {table.lambda_:g}{other}.")
    lines += ranks_notes(reports)
    lines += remarks(table.plan.benchmark, reports)
    places = [(row, column) for row in table.layout.rows for column in table.columns]
    if any(table.empty(*place) == NOT_PLANNED for place in places):
        lines.append(f"{NOT_PLANNED}: the plan of this run has no such row.")
    if table.paper:
        return comparison_notes(table) + lines
    if any(row.copied for row in table.layout.rows):
        lines.append(f"† {COPIED}.")
    if any(row.variant is None and not row.copied for row in table.layout.rows):
        lines.append(f"{NOT_YET}: no method for this row.")
    return lines


def ranks_notes(reports: Sequence[CellReport]) -> list[str]:
    """Which rows several processes trained together, a line for each number of them."""
    found: dict[int, dict[str, None]] = {}
    for report in reports:
        name = f"{report.variant}-{report.head}" if report.head else report.variant
        for ranks, what in ((report.ranks, name), (report.features_ranks, f"the features of {name}")):
            if ranks > 1:
                found.setdefault(ranks, {})[what] = None
    return [
        f"Trained by {ranks} ranks, each with BatchNorm statistics of its own images: {', '.join(names)}."
        for ranks, names in sorted(found.items())
    ]


def remarks(benchmark: str, reports: Sequence[CellReport]) -> list[str]:
    """What the user must know of the settings of the rows, one line for each method and imbalance."""
    found: dict[str, None] = {}
    for report in reports:
        method = report.head or report.method
        remark = METHODS[method].remark if method in METHODS else None
        text = remark(report.settings, report.counts) if remark else None
        if text:
            found[f"{tail_name(benchmark, report.imbalance)}: {text}."] = None
    return list(found)


def difference_note(table: Table) -> str:
    """How to read the differences of the table."""
    label = symbols(table.layout.reference.label)
    columns = [found for columns in table.differences.values() for found in columns if found]
    judged = [found["all"] for found in columns if found["all"] is not None]
    if not judged:
        return f"No differences to {label}: it is not run, or nothing else is."
    text = f"All − {label}: difference of the accuracies over all test images, by shot group in "
    lines = [f"{text}`table{table.layout.number}.csv`."]
    if any(found.interval.seeds > 1 for found in judged):
        lines.append(
            "Paired by seed (same images, same draws), ± half-width of its 95% t interval. ▲ better, "
            "▼ worse: p < 0.05 in the paired t test, Holm's correction over the rows; no mark: undecided."
        )
    if any(found.interval.seeds == 1 for found in judged):
        lines.append("The difference of two single trainings has no interval and is undecided.")
    if any(found.mcnemar is not None for found in judged):
        lines.append(MCNEMAR_NOTE)
    return " ".join(lines)


def comparison_notes(table: Table) -> list[str]:
    """Notes on the comparison with the paper, one per line."""
    lines = verdict_notes(table.comparisons())
    if not any(set(table.printed_splits(column)) - {"all"} for column in table.columns):
        lines.append(
            "Accuracy over all classes, as in the paper; by shot group, and of the weights that the meta set "
            f"selects: `table{table.layout.number}.csv`."
        )
    return lines + label_notes(row.label for row in table.layout.rows)


def headline(table: Table) -> str:
    """The filled rows with All, Few and the difference to the reference per column, for a terminal."""
    by_network = table.layout.columns == "networks"
    names = [column.network if by_network else f"imb {column.imbalance:g}" for column in table.columns]
    above = [[f"{name} All", f"{name} Few", difference_heading(table)] for name in names]
    lines = [["", *(heading for headings in above for heading in headings)]]
    for group in table.layout.groups:
        filled = [
            row
            for row in group.rows
            if any(table.entries[group.name, row.label])
            or any(table.failed(row, column) for column in table.columns)
        ]
        if filled:
            lines.append([group.name, *[""] * (len(lines[0]) - 1)])
        for row in filled:
            cells = [f"  {row.label}"]
            entries = table.entries[group.name, row.label]
            for index, (column, entry) in enumerate(zip(table.columns, entries, strict=True)):
                shown = [number(entry[split], table.seeds) for split in ("all", "few")] if entry else []
                cells += shown or [table.empty(row, column), ""]
                cells.append(to_reference(table, group.name, row, index))
            lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    if table.seeds < 2:
        return text
    return (
        f"{text}\n\n{difference_heading(table)}: paired by seed; ▲ better, ▼ worse (p < 0.05, Holm over the "
        "rows); no mark: undecided"
    )
