"""What `evaluate` found out about each cell, and reading it for the cells that the plan names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from longtail.benchmarks import Frozen
from longtail.errors import InputError, one_line
from longtail.json_files import read_object
from longtail.plans import ShotGroupsPlan, TablesPlan

Percent = Annotated[float, Field(ge=0, le=100)]


class ShotGroups(ShotGroupsPlan):
    """A convention and the class indices that it yields: many, medium, few."""

    members: dict[str, list[int]]


class Scores(Frozen):
    """One set of weights on the test images. `accuracy` by split and `per_class` in percent, `ece` too."""

    accuracy: dict[str, Percent | None] = Field(min_length=4)
    per_class: list[Percent | None]
    ece: Percent


class ImageSet(Frozen):
    """How many images, and the sha256 of their content hashes (sorted, one a line)."""

    images: int = Field(ge=1)
    sha256: str


class DisjointSets(Frozen):
    """The proof that a training made before its first step; see `longtail.manifests.disjoint_proof`."""

    train: ImageSet
    meta: ImageSet
    test: ImageSet
    shared: int = Field(ge=0)
    """Training or meta images that are test images too: none unless `duplicates: keep` asked for them."""


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
    disjoint: DisjointSets
    counts: list[int]
    class_names: list[str]
    groups: ShotGroups
    selected: Scores
    iterations: int
    device: str
    versions: dict[str, Any]


def read_report(path: Path) -> CellReport:
    """Read one cell report. Raises InputError."""
    missing = "no such report, but the plan names it"
    try:
        return CellReport.model_validate(read_object(path, "run `dvc repro`", missing))
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
        return str(read_object(path, "run `dvc repro`")["fingerprint"])
    except KeyError:
        raise InputError(f"{path}: damaged, no fingerprint in it; run `dvc repro`") from None
