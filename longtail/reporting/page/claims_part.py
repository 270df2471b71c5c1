"""The judged claims as the page shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from longtail.config.layouts import Layouts
from longtail.planning.plans import TablesPlan
from longtail.reporting.claims import JudgedClaim
from longtail.reporting.claims_text import MEASURES, claim_notes, column_name, compared_rows, compared_text


@dataclass(frozen=True)
class ComparedPart:
    """One comparison: what, where, the difference with its interval, and the word on it."""

    rows: str
    column: str
    text: str
    word: str


@dataclass(frozen=True)
class ClaimPart:
    """A claim with its comparisons."""

    judged: JudgedClaim
    measure: str
    compared: list[ComparedPart]


@dataclass(frozen=True)
class ClaimsPart:
    """All claims, and how they are judged."""

    claims: list[ClaimPart]
    notes: list[str]


def claim_parts(judged: Sequence[JudgedClaim], plan: TablesPlan, layouts: Layouts) -> ClaimsPart:
    """Everything that the page shows of the claims."""
    parts = [
        ClaimPart(
            claim,
            MEASURES[claim.claim.measure] or "test accuracy over all classes, percentage points",
            [
                ComparedPart(
                    compared_rows(one, layouts),
                    column_name(plan, one.column),
                    compared_text(claim, one, len(plan.seeds)),
                    one.judged.word if one.judged else "",
                )
                for one in claim.compared
            ],
        )
        for claim in judged
    ]
    return ClaimsPart(parts, claim_notes(judged, plan, layouts) if judged else [])
