"""Differences between two rows of reports: by split, by class, and over the test images of one seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from longtail.reporting.accuracy import SPLITS
from longtail.reporting.comparisons import Judgement, judge, mcnemar, paired_difference
from longtail.reporting.reports import CellReport, Scores

Differences = Mapping[str, Judgement | None]
"""Of a row to its reference, in percentage points by split; None: no class in that shot group."""


def last_scores(report: CellReport) -> Scores:
    """The scores of the weights after the last iteration."""
    return report


def selected_scores(report: CellReport) -> Scores:
    """The scores of the weights that did best on the meta set."""
    return report.selected


def by_seed(
    reports: Sequence[CellReport], scores: Callable[[CellReport], Scores], split: str
) -> dict[int, float]:
    """The accuracy over a split, in percent by seed, of the reports that have one."""
    return present({report.seed: scores(report).accuracy[split] for report in reports})


def present(values: Mapping[int, float | None]) -> dict[int, float]:
    """`values` without those that are None."""
    return {seed: value for seed, value in values.items() if value is not None}


def split_differences(
    pairs: Sequence[tuple[Sequence[CellReport], Sequence[CellReport]]],
    scores: Callable[[CellReport], Scores] = last_scores,
) -> list[Differences | None]:
    """The first row's accuracy minus the second's in each of `pairs`; a row is its seeds' reports.

    Paired by seed, and judged with Holm's correction over the pairs, for each split apart. None for rows that
    share no seed.
    """
    judged = {
        split: judge(
            [paired_difference(*(by_seed(reports, scores, split) for reports in pair)) for pair in pairs]
        )
        for split in SPLITS
    }
    found: list[Differences | None] = []
    for index, pair in enumerate(pairs):
        of_pair = {split: column[index] for split, column in judged.items()}
        every = of_pair["all"]
        if every is not None and every.interval.seeds == 1 and scores is last_scores:
            of_pair["all"] = replace(every, mcnemar=one_seed_mcnemar(*pair))
        found.append(None if every is None else of_pair)
    return found


def class_differences(row: Sequence[CellReport], reference: Sequence[CellReport]) -> list[Judgement | None]:
    """Each class's accuracy in `row` minus that in `reference`, in percentage points, in class order.

    Paired by seed, with Holm's correction over the classes. None for a class without test images, or where
    the rows share no seed.
    """

    def values(reports: Sequence[CellReport], label: int) -> dict[int, float]:
        return present({report.seed: report.per_class[label] for report in reports})

    classes = len(row[0].per_class) if row else 0
    pairs = [(values(row, label), values(reference, label)) for label in range(classes)]
    return judge([paired_difference(*pair) for pair in pairs])


def common_seeds(
    row: Sequence[CellReport], reference: Sequence[CellReport]
) -> list[tuple[CellReport, CellReport]]:
    """The reports of both rows for each seed that both have."""
    others = {report.seed: report for report in reference}
    return [(report, others[report.seed]) for report in row if report.seed in others]


def one_seed_mcnemar(row: Sequence[CellReport], reference: Sequence[CellReport]) -> float | None:
    """`images_mcnemar` of the reports of the one seed that both have; None if it is not one."""
    pairs = common_seeds(row, reference)
    return images_mcnemar(*pairs[0]) if len(pairs) == 1 else None


def images_mcnemar(first: CellReport, second: CellReport) -> float | None:
    """p of McNemar's exact test over the test images of two trained networks; see `mcnemar`.

    None if a report does not say which images were right, or they are of different test images.
    """
    ours, theirs = first.right_images, second.right_images
    pools = [report.manifests.get("pool") for report in (first, second)]
    if ours is None or theirs is None or pools[0] != pools[1] or first.disjoint.test != second.disjoint.test:
        return None
    return mcnemar(int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours)))


def judgement_cells(judged: Judgement | None) -> list[str]:
    """In a csv: difference, low, high, seeds, p, p after Holm, word, McNemar's p; empty for None."""
    if judged is None:
        return [""] * 8
    ends = judged.interval

    def short(*values: float | None) -> list[str]:
        return ["" if value is None else f"{value:.6g}" for value in values]

    return [
        *short(ends.mean, ends.low, ends.high),
        str(ends.seeds),
        *short(judged.difference.p, judged.p_holm),
        judged.word,
        *short(judged.mcnemar),
    ]
