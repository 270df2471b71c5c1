"""The judged claims as markdown."""

from collections.abc import Sequence

from longtail.config.layouts import Layouts
from longtail.planning.plans import TablesPlan
from longtail.reporting.claims import Compared, JudgedClaim, counted_verdicts
from longtail.reporting.table_text import MCNEMAR_NOTE, aligned, signed, symbols, tail_name
from longtail.reporting.tables import Column

MEASURES = {
    "accuracy": "",
    "weight_change": "change of class weights (mean 1) from epoch to epoch, mean over classes and epochs",
    "entropy_fall": "mean entropy of the difficulties in the first half of training less the second, nats",
    "difficulty_range": "highest less lowest difficulty of a class at the end of training",
}
"""What is compared, where it is not the test accuracy over all classes."""


def compared_rows(one: Compared, layouts: Layouts) -> str:
    """`Ours − Focal Loss`."""
    return " − ".join(layouts.label(row) for row in (one.higher, one.than) if row is not None)


def compared_text(claim: JudgedClaim, one: Compared, seeds: int) -> str:
    """The difference with interval and mark, or why there is none."""
    if one.judged is None:
        return one.missing
    return signed(one.judged, seeds, ".1f" if claim.claim.measure == "accuracy" else "#.2g")


def summary(judged: Sequence[JudgedClaim]) -> str:
    """`2 supported, 1 contradicted, 13 undecided`."""
    return ", ".join(f"{count} {word}" for word, count in counted_verdicts(judged).items() if count)


def claims_markdown(judged: Sequence[JudgedClaim], plan: TablesPlan, layouts: Layouts) -> str:
    """The claims with their verdicts and comparisons, how they are judged, and what the paper says."""
    short = f", schedules shortened to {plan.schedule_fraction:.3g} of full length"
    heading = f"# The paper's claims, {plan.benchmark}{plan.networks_trained}"
    columns = list(dict.fromkeys(one.column for claim in judged for one in claim.compared))
    columns.sort(key=lambda column: (-column.imbalance, plan.networks.index(column.network)))
    lines = [["Claim", "Paper", "Here", *(column_name(plan, column) for column in columns)]]
    for claim in judged:
        lines.append(
            [f"**{claim.claim.name}**", claim.claim.section, f"**{claim.verdict}**", *[""] * len(columns)]
        )
        rows: dict[str, dict[Column, str]] = {}
        for one in claim.compared:
            rows.setdefault(symbols(compared_rows(one, layouts)), {})[one.column] = compared_text(
                claim, one, len(plan.seeds)
            )
        lines += [
            [name, "", "", *(found.get(column, "") for column in columns)] for name, found in rows.items()
        ]
    parts = [
        heading + (short if plan.schedule_fraction < 1 else ""),
        f"What the paper claims of its method, and what the trainings here say: {summary(judged)}.",
        aligned(lines, left=3),
        "\n".join(f"- {line}" for line in claim_notes(judged, plan, layouts)),
        "What the paper says:",
        "\n".join(
            f"- {claim.claim.name} (Section {claim.claim.section}): {claim.claim.says}" for claim in judged
        ),
    ]
    return "\n\n".join(parts) + "\n"


def column_name(plan: TablesPlan, column: Column) -> str:
    """The heading of a column."""
    name = tail_name(plan.benchmark, column.imbalance)
    return name if len(plan.networks) == 1 else f"{name}, {column.network}"


def claim_notes(judged: Sequence[JudgedClaim], plan: TablesPlan, layouts: Layouts) -> list[str]:
    """How the claims are judged, a note a line."""
    notes = [
        "Differences in test accuracy over all classes, in percentage points, unless listed below. Paired by "
        "seed, ± half-width of the 95% t interval. ▲ as claimed, ▼ the opposite: p < 0.05 in the paired t "
        "test, after Holm's correction over all comparisons of the claim; no mark: undecided.",
        "supported: every comparison is as claimed. contradicted: one is the opposite. undecided: otherwise, "
        "as with one seed. Each claim is tested by itself, without correction for their number.",
    ]
    if any(one.judged and one.judged.mcnemar is not None for claim in judged for one in claim.compared):
        notes.append(MCNEMAR_NOTE)
    rules = {claim.claim.rule for claim in judged}
    if "often" in rules:
        notes.append(
            "A claim that something often holds is supported where some comparison is as claimed at most "
            "imbalances, and contradicted where at most imbalances all are the opposite."
        )
    if "changes" in rules:
        notes.append(
            "A claim that the best row changes is supported where two rows change places between imbalances, "
            "both times beyond doubt, and contradicted where the same row is the best at each of several."
        )
    notes += [
        f"{claim.claim.name}: {MEASURES[claim.claim.measure]}."
        for claim in judged
        if MEASURES[claim.claim.measure]
    ]
    if not any(plan.benchmark in table.benchmarks for table in layouts.tables):
        notes.append(f"The paper makes its claims on other data; these verdicts are on {plan.benchmark}.")
    return notes
