"""The top of the page: what was run, on what, and what came out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from longtail.planning.plans import TablesPlan
from longtail.reporting.claims import JudgedClaim, counted_verdicts
from longtail.reporting.page.tables_part import column_text
from longtail.reporting.paper import DEVIATES, FAILED, NOT_RUN, REPRODUCED, SHORTENED
from longtail.reporting.reports import CellReport, FailedReport
from longtail.reporting.study import Study
from longtail.reporting.table_text import number, seeds_text, signed, tail_name
from longtail.reporting.tables import Table

VERDICTS = (REPRODUCED, DEVIATES, SHORTENED, FAILED, NOT_RUN)
"""On the paper's numbers, in the order shown."""


@dataclass(frozen=True)
class DataSet:
    """The images at one imbalance, and the first characters of the fingerprint of its training set."""

    name: str
    train: int
    largest: int
    smallest: int
    meta: int
    test: int
    fingerprint: str


@dataclass(frozen=True)
class Headline:
    """`settings` by their names in params.yaml; `ours`: name of the column, Ours, reference, difference."""

    planned: int
    trained: int
    failed: int
    seeds: str
    claims: dict[str, int]
    numbers: dict[str, int]
    ours: list[tuple[str, str, str, str]]
    reference: str
    data: list[DataSet]
    settings: dict[str, str]
    trained_on: list[str]


def headline(
    study: Study, failures: Sequence[FailedReport], tables: Sequence[Table], judged: Sequence[JudgedClaim]
) -> Headline:
    """What the page says first. `numbers`: how many of the paper's have which verdict."""
    plan, reports = study.plan, study.reports
    verdicts = Counter(found.verdict for table in tables for found in table.comparisons())
    return Headline(
        planned=sum(len(bundle.members) for bundle in plan.bundles),
        trained=len(reports),
        failed=len(failures),
        seeds=seeds_text(reports),
        claims=counted_verdicts(judged) if judged else {},
        numbers={word: verdicts[word] for word in VERDICTS if verdicts[word]},
        ours=ours_and_reference(tables[0]),
        reference=tables[0].layout.reference.label,
        data=data_sets(plan, reports),
        settings=settings(plan, tables),
        trained_on=sorted({trained_on(report) for report in reports}),
    )


def ours_and_reference(table: Table) -> list[tuple[str, str, str, str]]:
    """The accuracy of the row Ours and of the reference in each column, and their difference."""
    places = {row.name: (group.name, row.label) for group in table.layout.groups for row in group.rows}
    ours, reference = places.get("difficulty_net"), places.get(table.layout.reference.name)
    if ours is None or reference is None:
        return []
    found = []
    for index, column in enumerate(table.columns):
        entry, other = table.entries[ours][index], table.entries[reference][index]
        compared = table.differences[ours][index]
        if entry and other and compared:
            numbers = (number(one["all"], table.seeds) for one in (entry, other))
            found.append((column_text(table, column), *numbers, signed(compared["all"], table.seeds)))
    return found


def data_sets(plan: TablesPlan, reports: Sequence[CellReport]) -> list[DataSet]:
    """The images at each imbalance that has reports, largest imbalance first."""
    first = {report.imbalance: report for report in reversed(reports)}
    return [
        DataSet(
            tail_name(plan.benchmark, imbalance),
            sum(first[imbalance].counts),
            max(first[imbalance].counts),
            min(first[imbalance].counts),
            first[imbalance].disjoint.meta.images,
            first[imbalance].disjoint.test.images,
            first[imbalance].manifests.get("train", "")[:12],
        )
        for imbalance in sorted(first, reverse=True)
    ]


def settings(plan: TablesPlan, tables: Sequence[Table]) -> dict[str, str]:
    """What decided the trainings, by the names that params.yaml has for it."""
    lambdas = [table.lambda_ for table in tables if table.lambda_ is not None]
    return {
        **({"lambda": f"{lambdas[0]:g}"} if lambdas else {}),
        f"imbalances.{plan.benchmark}": ", ".join(f"{imbalance:g}" for imbalance in plan.imbalances),
        "seeds": ", ".join(map(str, plan.seeds)),
        "schedule.fraction": f"{plan.schedule_fraction:g}",
        **({} if plan.length is None else {"schedule.length": f"{plan.length} {plan.unit}"}),
        **({} if plan.batch_size is None else {"schedule.batch_size": str(plan.batch_size)}),
        "schedule.precision": plan.precision,
        "shot_groups": plan.groups.convention,
    }


def trained_on(report: CellReport) -> str:
    """`cpu, python 3.12.1, torch 2.14.1`."""
    return ", ".join([report.device, *(f"{name} {version}" for name, version in report.versions.items())])
