"""The judged claims as the page shows them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from longtail.config.layouts import Layouts
from longtail.planning.plans import TablesPlan
from longtail.reporting.claims import JudgedClaim
from longtail.reporting.claims_text import MEASURES, claim_notes, column_name, compared_rows, compared_text
from longtail.reporting.page.interval_bars import interval_bars, reach


@dataclass(frozen=True)
class ComparedPart:
    """One comparison: what, where, the difference with its interval as text and drawn, and the word on it."""

    rows: str
    column: str
    text: str
    word: str
    bar: Markup


@dataclass(frozen=True)
class ClaimPart:
    """A claim with its comparisons; `bars` draws all of them."""

    judged: JudgedClaim
    measure: str
    bars: Markup
    compared: list[ComparedPart]


@dataclass(frozen=True)
class ClaimsPart:
    """All claims, and how they are judged."""

    claims: list[ClaimPart]
    notes: list[str]


def claim_parts(judged: Sequence[JudgedClaim], plan: TablesPlan, layouts: Layouts) -> ClaimsPart:
    """Everything that the page shows of the claims."""
    parts = [claim_part(claim, plan, layouts) for claim in judged]
    return ClaimsPart(parts, claim_notes(judged, plan, layouts) if judged else [])


def claim_part(claim: JudgedClaim, plan: TablesPlan, layouts: Layouts) -> ClaimPart:
    """Everything that the page shows of one claim; its drawings have one scale."""
    limit = 100.0 if claim.claim.measure == "accuracy" else math.inf
    found = [one.judged for one in claim.compared if one.judged]
    far = reach(found, limit)
    compared = [
        ComparedPart(
            compared_rows(one, layouts),
            column_name(plan, one.column),
            compared_text(claim, one, len(plan.seeds)),
            one.judged.word if one.judged else "",
            interval_bars([one.judged] if one.judged else [], far, limit, 12),
        )
        for one in claim.compared
    ]
    measure = MEASURES[claim.claim.measure] or "test accuracy over all classes, percentage points"
    return ClaimPart(claim, measure, interval_bars(found, far, limit, 24), compared)
