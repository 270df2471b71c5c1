"""The numbers that the paper prints in Tables 1-5, and whether ours agree with them.

The numbers (`paper_numbers.csv`) are those of Sinha and Ohashi, "Difficulty-Net: Learning to Predict
Difficulty for Long-Tailed Recognition", WACV 2023: top-1 accuracy in percent, with the printed decimals.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files

from longtail.reporting.intervals import Interval

REPRODUCED, DEVIATES, SHORTENED, NOT_RUN = "reproduced", "deviates", "shortened", "not run"
FAILED = "failed"
ONE_SEED_TOLERANCE = 1.0
"""Percentage points. A single run says nothing of its spread."""
LAMBDA = 0.3
"""Of the rows "Ours" in all tables but the fifth."""

Place = tuple[str, float, str, str]
"""Where a number stands in a table: row label, imbalance, network, split."""
Numbers = Mapping[Place, Decimal]


@lru_cache
def read_paper_numbers() -> dict[tuple[int, str], dict[Place, Decimal]]:
    """All printed numbers, by table and benchmark."""
    found: dict[tuple[int, str], dict[Place, Decimal]] = {}
    text = (files("longtail.reporting") / "paper_numbers.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        place = (line["row"], float(line["imbalance"]), line["network"], line["split"])
        found.setdefault((int(line["table"]), line["benchmark"]), {})[place] = Decimal(line["value"])
    return found


def paper_numbers(table: int, benchmark: str) -> Numbers:
    """The printed numbers of one table; none if it is not about `benchmark`."""
    return read_paper_numbers().get((table, benchmark), {})


@dataclass(frozen=True)
class Comparison:
    """A printed number (None: not printed) beside ours (None: not run), in percent.

    The printed number counts as a single run, for of how many it is the mean is not said. It is reproduced
    where it lies in the 95 % prediction interval for one more run of ours: with mean m and standard
    deviation s of n seeds, |m - paper| <= t(0.975, n - 1) s sqrt(1 + 1/n). One seed has no s: there, where
    they differ by at most `ONE_SEED_TOLERANCE`. A shortened schedule is never judged, nor a place where a
    training `failed`.
    """

    paper: Decimal | None
    ours: Interval | None
    shortened: bool
    failed: bool = False

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, in percentage points."""
        if self.paper is None or self.ours is None:
            return None
        return self.ours.mean - float(self.paper)

    @property
    def tolerance(self) -> float | None:
        """The largest difference, in percentage points, that counts as reproduced; None: not judged."""
        if self.difference is None or self.ours is None or self.shortened:
            return None
        if self.ours.half_width is None:
            return ONE_SEED_TOLERANCE
        # the half-width of the mean's own interval is t s / sqrt(n)
        return self.ours.half_width * math.sqrt(self.ours.seeds + 1)

    @property
    def verdict(self) -> str:
        """One of the five words; empty where the paper prints no number."""
        if self.paper is None:
            return ""
        if self.difference is None:
            return FAILED if self.failed else NOT_RUN
        if self.tolerance is None:
            return SHORTENED
        # a difference of exactly the tolerance is within it, however floats round it
        return REPRODUCED if abs(self.difference) <= self.tolerance + 1e-9 else DEVIATES

    @property
    def text(self) -> str:
        """The verdict with the difference: `deviates (-3.1)`."""
        if self.difference is None:
            return self.verdict
        return f"{self.verdict} ({round(self.difference, 1) + 0.0:+.1f})"  # + 0.0: no "-0.0"


def verdict_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """How often which verdict was given, and by which rule, a line each."""
    judged = [comparison for comparison in comparisons if comparison.verdict]
    if not judged:
        return ["The paper prints no number at what is shown here."]
    found = Counter(comparison.verdict for comparison in judged)
    words = {
        REPRODUCED: "reproduced",
        DEVIATES: "deviating",
        SHORTENED: "shortened",
        FAILED: "failed",
        NOT_RUN: "not run",
    }
    counts = ", ".join(f"{found[verdict]} {word}" for verdict, word in words.items() if found[verdict])
    lines = [
        f"Paper: its printed number, – where it prints none. Of its {len(judged)} numbers: {counts}. "
        "In brackets: here − paper, in percentage points."
    ]
    seeds = {comparison.ours.seeds for comparison in judged if comparison.ours}
    if found[SHORTENED]:
        lines.append("shortened: with less than the full schedule no number is judged.")
    elif seeds:
        rules, widths = [], [c.tolerance for c in judged if c.tolerance is not None]
        if max(seeds) > 1:
            rules.append(
                "the paper's number, taken for one more run, lies in the 95% prediction interval of the "
                "runs here, |here − paper| ≤ t(0.975, n − 1) · s · √(1 + 1/n) with n seeds of standard "
                f"deviation s (in this table ± {min(widths):.1f} to ± {max(widths):.1f})"
            )
        if 1 in seeds:
            rules.append(
                f"with one seed, whose spread nobody knows, they differ by at most {ONE_SEED_TOLERANCE} "
                "percentage points"
            )
        lines.append(f"reproduced: {'; '.join(rules)}. deviates: otherwise.")
    return lines


def label_notes(labels: Iterable[str]) -> list[str]:
    """What the paper's marks on row labels say of its numbers, a line each."""
    text = " ".join(labels)
    lines = []
    if "(dagger)" in text:
        lines.append("†: the paper copied its number from the method's own publication, with another setup.")
    if "(asterisk)" in text:
        lines.append("\\*: the paper ran the method's released code, without RandAugment.")
    return lines
