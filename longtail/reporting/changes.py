"""What changes from one row of the tables to another, or in all rows between revisions, as one screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from longtail.reporting.accuracy import SPLITS
from longtail.reporting.comparisons import Judgement, judge, paired_difference
from longtail.reporting.differences import (
    by_seed,
    class_differences,
    common_seeds,
    images_mcnemar,
    last_scores,
    split_differences,
)
from longtail.reporting.reports import CellReport
from longtail.reporting.table_text import number, p_value, seeds_text, signed
from longtail.reporting.tables import HEADINGS, summarise

CLASSES, ROWS = 5, 20
"""How many classes and rows are shown, those that changed most."""
NAME = 24
"""Characters of a row's or class's name beside its numbers."""
WIDTH = 80


@dataclass(frozen=True)
class Change:
    """A row with its reports before and after, seed by seed."""

    name: str
    old: list[CellReport]
    new: list[CellReport]

    @property
    def same(self) -> bool:
        """Whether every seed that both have is the same training with the same scores."""
        pairs = common_seeds(self.old, self.new)
        return all((a.fingerprint, a.accuracy) == (b.fingerprint, b.accuracy) for a, b in pairs)

    @property
    def other_images(self) -> bool:
        """Whether a seed learned from other images, so that more than the row differs."""
        return any(a.manifests != b.manifests for a, b in common_seeds(self.old, self.new))


def rows_text(change: Change, old: str, new: str) -> str:
    """What changes from row `old` to row `new`: by split, by test image for each seed, and by class.

    Both rows share a seed.
    """
    pairs = common_seeds(change.new, change.old)
    first = pairs[0][0]
    before, after = (summarise([pair[side] for pair in pairs]) for side in (1, 0))
    found = judge(
        [
            paired_difference(*(by_seed(reports, last_scores, split) for reports in (change.new, change.old)))
            for split in SPLITS
        ]
    )
    table = [["", "A", "B", "B − A", "", ""]]
    for split, judged in zip(SPLITS, found, strict=True):
        if judged is not None:
            means = [number(entry[split], len(pairs)) for entry in (before, after)]
            p = "" if judged.p_holm is None else p_value(judged.p_holm)
            difference = signed(judged, len(pairs)).rstrip(" ▲▼")
            table.append([HEADINGS[split], *means, difference, p, judged.word])
    p_values = [(report.seed, images_mcnemar(report, other)) for report, other in pairs]
    images = [f"{p_value(p)} (seed {seed})" for seed, p in p_values if p is not None]
    parts = [
        f"A  {old}\nB  {new}\n   {first.benchmark}, imbalance {first.imbalance:g}, {first.network}, "
        f"{seeds_text([pair[0] for pair in pairs])}",
        even(table),
        how(len(pairs), "the splits, or the classes"),
        images_text(images),
        classes_text([change]),
    ]
    return "\n\n".join(part for part in parts if part)


def how(seeds: int, family: str) -> str:
    """How the differences are judged."""
    if seeds == 1:
        return "One training each: no interval, and nothing is decided."
    return fill(
        "Paired by seed, ± half-width of the 95% t interval. better (▲), worse (▼): p < 0.05 in the paired t "
        f"test, after Holm's correction over {family}.",
        WIDTH,
    )


def images_text(images: Sequence[str]) -> str:
    """McNemar's tests, and what they say."""
    if not images:
        return "No McNemar's test: the reports do not say which of the test images were right."
    return fill(
        f"McNemar's exact test over the test images: {', '.join(images)}. It asks whether two trained "
        "networks differ beyond the choice of test images, not whether other trainings would.",
        WIDTH,
    )


def revisions_text(changes: Sequence[Change], old: str, new: str) -> str:
    """What changes in all rows from revision `old` to revision `new`, at one imbalance.

    Rows that are the same trainings, or in one of both only, are counted.
    """
    shared = [change for change in changes if common_seeds(change.old, change.new)]
    moved = [change for change in shared if not change.same]
    alone = {old: sum(not change.new for change in changes), new: sum(not change.old for change in changes)}
    parts = [f"A  {old}\nB  {new}"]
    if shared:
        first = shared[0].new[0]
        parts[0] += f"\n   {first.benchmark}, imbalance {first.imbalance:g}, {first.network}"
    counts = [f"{len(moved)} of {len(changes)} rows changed"]
    counts += [f"{count} only in {name}" for name, count in alone.items() if count]
    parts.append(", ".join(counts) + ".")
    if not moved:
        return "\n\n".join(parts)
    if any(change.other_images for change in moved):
        parts.append("They learned from other images: the differences hold what varies with these, too.")
    found = split_differences([(change.new, change.old) for change in moved])
    ordered = sorted(
        zip(moved, found, strict=True), key=lambda pair: -size(pair[1]["all"] if pair[1] else None)
    )
    table = [["B − A", *(HEADINGS[split] for split in SPLITS)]]
    for change, splits in ordered[:ROWS]:
        cells = [
            signed(splits[split], len(change.new)).replace(" ± ", "±") if splits else "" for split in SPLITS
        ]
        table.append([cut(change.name), *cells])
    more = f"\n... and {len(moved) - ROWS} rows that changed less" if len(moved) > ROWS else ""
    parts += [
        even(table) + more,
        how(max(len(change.new) for change in moved), "the rows, or a row's classes"),
        classes_text([change for change, _ in ordered[:ROWS]]),
    ]
    return "\n\n".join(parts)


def classes_text(changes: Sequence[Change]) -> str:
    """The classes that changed most, of all rows."""
    found = [
        (judged, change, label)
        for change in changes
        for label, judged in enumerate(class_differences(change.new, change.old))
        if judged is not None
    ]
    found.sort(key=lambda one: -size(one[0]))
    several = len(changes) > 1
    table = [["Classes that changed most", *(["row"] if several else []), "images", "A", "B", "B − A"]]
    for judged, change, label in found[:CLASSES]:
        first = change.new[0]
        seeds = [new.seed for new, _ in common_seeds(change.new, change.old)]
        means = [mean_of_class(reports, seeds, label) for reports in (change.old, change.new)]
        numbers = [str(first.counts[label]), *(f"{mean:.1f}" for mean in means), signed(judged, len(seeds))]
        table.append([cut(first.class_names[label]), *([cut(change.name)] if several else []), *numbers])
    return even(table, left=1 + several)


def mean_of_class(reports: Sequence[CellReport], seeds: Sequence[int], label: int) -> float:
    """The accuracy of a class in percent, over those of `seeds` that have one."""
    values = [report.per_class[label] for report in reports if report.seed in seeds]
    there = [value for value in values if value is not None]
    return sum(there) / len(there)


def size(judged: Judgement | None) -> float:
    """The absolute mean difference; 0 for none."""
    return abs(judged.interval.mean) if judged else 0.0


def cut(text: str) -> str:
    """`text`, at most `NAME` characters of it."""
    return text if len(text) <= NAME else f"{text[: NAME - 1]}…"


def even(table: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows of cells in even columns, the first `left` ones flush left."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )
