"""The paper's claims, judged by the trainings here."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from longtail.config.claims import Claim
from longtail.config.layouts import Row
from longtail.planning.plans import TablesPlan
from longtail.reporting.comparisons import BETTER, UNDECIDED, WORSE, Judgement, judge, paired_difference
from longtail.reporting.differences import judgement_cells, one_seed_mcnemar
from longtail.reporting.paper import FAILED, NOT_RUN
from longtail.reporting.reports import CellReport, FailedReport
from longtail.reporting.study import Study
from longtail.reporting.tables import Column, count_planned, select, whole

SUPPORTED, CONTRADICTED = "supported", "contradicted"


@dataclass(frozen=True)
class Compared:
    """`higher` minus `than` (None: minus 0) in one column, in the unit of the claim's measure.

    `judged`: among all comparisons of the claim; None where `missing` says why.
    """

    higher: Row
    than: Row | None
    column: Column
    judged: Judgement | None
    missing: str = ""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, its planned comparisons, and *supported*, *contradicted*, *undecided* or *not run*."""

    claim: Claim
    compared: list[Compared]
    verdict: str


def weight_change(study: Study, report: CellReport) -> float:
    """Mean over classes and epochs of |w(e+1) - w(e)|, of weights with mean 1."""
    return float(np.abs(np.diff(study.courses[report.cell].per_class["weight"], axis=0)).mean())


def entropy_fall(study: Study, report: CellReport) -> float:
    """Mean entropy of the difficulties in the first half of training, less that in the second, in nats."""
    entropy = study.courses[report.cell].curves["entropy"][1:]  # the first is before training
    half = len(entropy) // 2
    return float(entropy[:half].mean() - entropy[-half:].mean()) if half else float("nan")


def difficulty_range(study: Study, report: CellReport) -> float:
    """Highest less lowest difficulty of a class at the end of training."""
    return float(np.ptp(study.courses[report.cell].per_class["difficulty"][-1]))


FROM_HISTORIES: dict[str, Callable[[Study, CellReport], float]] = {
    "weight_change": weight_change,
    "entropy_fall": entropy_fall,
    "difficulty_range": difficulty_range,
}


def measured(claim: Claim, study: Study, reports: Sequence[CellReport]) -> dict[int, float]:
    """The claim's measure of each report, by seed; without those that have none."""
    read = FROM_HISTORIES.get(claim.measure, lambda _, report: report.accuracy["all"])
    values = {report.seed: read(study, report) for report in reports}
    return {seed: value for seed, value in values.items() if value is not None and np.isfinite(value)}


def claim_columns(claim: Claim, study: Study) -> list[Column]:
    """Where the claim is judged, largest imbalance first."""
    imbalances = study.plan.imbalances if claim.imbalances == "all" else [study.imbalance]
    return [
        Column(imbalance, network)
        for imbalance in sorted(imbalances, reverse=True)
        for network in study.plan.networks
    ]


def read_from_histories(claims: Sequence[Claim], study: Study) -> list[CellReport]:
    """The reports whose histories `judge_claims` needs in `study.courses`."""
    rows = [
        (row, column)
        for claim in claims
        if claim.measure in FROM_HISTORIES
        for pair in claim.pairs
        for row in pair
        for column in claim_columns(claim, study)
        if row is not None
    ]
    found = [whole(study.reports, [], row, column) for row, column in rows]
    return list({report.cell: report for reports in found for report in reports}.values())


def judge_claims(
    claims: Sequence[Claim], study: Study, failures: Sequence[FailedReport] = ()
) -> list[JudgedClaim]:
    """The claims with a comparison that the plan has, judged; Holm's correction within each claim."""
    judged = []
    for claim in claims:
        places = [
            (pair, column)
            for pair in claim.pairs
            for column in claim_columns(claim, study)
            if all(row is None or planned(study.plan, row, column) for row in pair)
        ]
        if not places:
            continue
        differences, images = [], []
        for (higher, than), column in places:
            cells = whole(study.reports, failures, higher, column)
            ours = measured(claim, study, cells)
            others = dict.fromkeys(ours, 0.0)
            reference = whole(study.reports, failures, than, column) if than else []
            if than is not None:
                others = measured(claim, study, reference)
            differences.append(paired_difference(ours, others))
            images.append(one_seed_mcnemar(cells, reference) if claim.measure == "accuracy" else None)
        compared = [
            Compared(*pair, column, replace(found, mcnemar=p))
            if found
            else Compared(*pair, column, None, why_missing(pair, column, failures))
            for (pair, column), found, p in zip(places, judge(differences), images, strict=True)
        ]
        judged.append(JudgedClaim(claim, compared, verdict_on(claim, compared)))
    return judged


def why_missing(pair: Sequence[Row | None], column: Column, failures: Sequence[FailedReport]) -> str:
    """Why two rows could not be compared."""
    place = (column.imbalance, column.network)
    return FAILED if any(select(failures, row, *place) for row in pair if row) else NOT_RUN


def planned(plan: TablesPlan, row: Row, column: Column) -> bool:
    """Whether the plan has cells of `row` in `column`."""
    return count_planned(plan, row, column) > 0


def verdict_on(claim: Claim, compared: Sequence[Compared]) -> str:
    """What the comparisons say of the claim.

    all: supported where every comparison is as claimed, contradicted where one is the opposite. often:
    supported where at most imbalances some row is above, contradicted where at most imbalances every row is
    below. changes: supported where two rows change places between imbalances, contradicted where one row is
    best at each of several imbalances. Otherwise undecided.
    """
    if all(one.judged is None for one in compared):
        return NOT_RUN
    words = [one.judged.word if one.judged else None for one in compared]
    at: dict[Column, list[str | None]] = {}
    for one, word in zip(compared, words, strict=True):
        at.setdefault(one.column, []).append(word)
    if claim.rule == "all":
        supported, contradicted = all(word == BETTER for word in words), WORSE in words
    elif claim.rule == "often":
        supported = 2 * sum(BETTER in found for found in at.values()) > len(at)
        contradicted = 2 * sum(set(found) == {WORSE} for found in at.values()) > len(at)
    else:
        pairs: dict[tuple[str, str], list[str | None]] = {}
        for one, word in zip(compared, words, strict=True):
            pairs.setdefault((one.higher.name, one.than.name if one.than else ""), []).append(word)
        supported = any({BETTER, WORSE} <= set(found) for found in pairs.values())
        rows = {row for pair in pairs for row in pair}
        contradicted = len(at) > 1 and any(always_best(row, pairs) for row in rows)
    return SUPPORTED if supported else CONTRADICTED if contradicted else UNDECIDED


def always_best(row: str, pairs: Mapping[tuple[str, str], Sequence[str | None]]) -> bool:
    """Whether `row` is above every other one at every imbalance; `pairs`: the words by higher and than."""
    own = {pair: words for pair, words in pairs.items() if row in pair}
    return all(set(words) == {BETTER if pair[0] == row else WORSE} for pair, words in own.items())


def counted_verdicts(judged: Sequence[JudgedClaim]) -> dict[str, int]:
    """How many claims have which verdict, in this order."""
    found = Counter(one.verdict for one in judged)
    return {word: found[word] for word in (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN)}


COLUMNS = [
    *("claim", "section", "verdict", "measure", "higher", "than", "imbalance", "network"),
    *("difference", "low", "high", "seeds", "p", "p_holm", "word", "p_mcnemar"),
]


def claims_csv(judged: Sequence[JudgedClaim]) -> str:
    """One line per comparison; `word` is *better* where `higher` is above `than`, as claimed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in judged:
        claim = [one.claim.name, one.claim.section, one.verdict, one.claim.measure]
        for found in one.compared:
            rows = [found.higher.name, found.than.name if found.than else "0"]
            place = [f"{found.column.imbalance:g}", found.column.network]
            writer.writerow([*claim, *rows, *place, *judgement_cells(found.judged)])
    return text.getvalue()
