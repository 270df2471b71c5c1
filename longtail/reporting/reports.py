"""Reports of cells, and reading those that a plan names."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from longtail.config.presets import METHODS
from longtail.config.records import Frozen
from longtail.errors import InputError, found_value, one_line
from longtail.files import read_object
from longtail.planning.plans import ShotGroupsPlan, TablesPlan
from longtail.reporting.accuracy import unpack
from longtail.running.cell_folders import FAILED
from longtail.running.cell_record import DisjointSets
from longtail.training.choices import Choice

Percent = Annotated[float, Field(ge=0, le=100)]


class ShotGroups(ShotGroupsPlan):
    """A convention and the class indices that it yields: many, medium, few."""

    members: dict[str, list[int]]


class Scores(Frozen):
    """One set of weights on the test images. `accuracy` by split and `per_class` in percent, `ece` too."""

    accuracy: dict[str, Percent | None] = Field(min_length=4)
    per_class: list[Percent | None]
    ece: Percent


class NamedCell(Frozen):
    """The cell of a report. `recipe`: see `longtail.planning.fingerprints`."""

    cell: str
    fingerprint: str
    recipe: str
    benchmark: str
    imbalance: float
    network: str
    variant: str
    head: str | None
    seed: int


class CellReport(NamedCell, Scores):
    """The report of a trained cell.

    The scores are those of the weights after the last iteration; `selected` has those of the weights that
    did best on the meta set. Training counts and class names are in class order. None: a group or class
    without test images.
    """

    method: str
    settings: dict[str, Any]
    manifests: dict[str, str]
    """Fingerprints of training set, meta set and pool."""
    disjoint: DisjointSets
    counts: list[int]
    class_names: list[str]
    groups: ShotGroups
    choice: Choice | None = None
    """What the meta set chose."""
    selected: Scores
    iterations: int
    device: str
    versions: dict[str, Any]
    ranks: int = 1
    """Processes that trained it together."""
    features_ranks: int = 1
    """For a head: those that trained its features."""
    correct: str | None = None
    """Which test images the weights after the last iteration have right, in the order of the pool, packed by
    `longtail.reporting.accuracy.pack`; None in reports from before there was such a field."""
    history: str | None = None
    """Hex sha256 of the training's history; None in reports from before there was such a field."""

    @property
    def right_images(self) -> npt.NDArray[np.bool_] | None:
        """`correct`, one value per test image."""
        return None if self.correct is None else unpack(self.correct, self.disjoint.test.images)

    @model_validator(mode="after")
    def _correct_fits(self) -> Self:
        if (
            self.right_images is not None
            and abs(100 * self.right_images.mean() - (self.accuracy["all"] or 0.0)) > 1e-6
        ):
            raise ValueError("correct: not the images behind accuracy.all")
        return self


class FailedReport(NamedCell):
    """The report of a failed training: the reason in one line, and the iteration."""

    failed: str
    iteration: int


def read_report(path: Path) -> CellReport | FailedReport:
    """Read one report. Raises InputError."""
    missing = "no such report, but the plan names it"
    try:
        found = read_object(path, missing)
        return (FailedReport if "failed" in found else CellReport).model_validate(found)
    except ValidationError as error:
        raise InputError(path, one_line(error)) from None


def check_settings(path: Path, report: CellReport) -> None:
    """Raise InputError unless the settings of `report`, read from `path`, are those of a method.

    A setting that is younger than the report may be missing: its default is what the code did before.
    """
    name = report.head or report.method
    if name not in METHODS:
        raise InputError(path, f"method {found_value(name)} is not known")
    known = METHODS[name].settings
    if known.model_fields and not report.settings:
        raise InputError(path, f"settings of {name}: no setting in them")
    try:
        known.model_validate(report.settings)
    except ValidationError as error:
        raise InputError(path, f"settings of {name}: {one_line(error)}") from None


LISTED = 10
"""Most wrong files or cells that are named."""


def listed(names: Sequence[Path | str]) -> str:
    """The first few of `names`, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return ", ".join(map(str, names[:LISTED])) + more


def read_reports(
    plan: TablesPlan,
    report_path: Callable[[float, str, str], Path],
    model_path: Callable[[float, str, str], Path],
    partial: bool = False,
) -> tuple[list[CellReport], list[FailedReport]]:
    """The reports of all cells that `plan` names, in its order, and of no other; then those that failed.

    Both functions map (imbalance, bundle, member) to a path. Raises InputError if a report is missing or
    damaged, is of another cell, of other settings or code than planned, or of another training than the
    model beside it, has settings that its method cannot have, or grouped its classes unlike the plan, and
    where the cells of one imbalance did not learn from the same images. With `partial`, cells without a
    report, or with one of other settings or code than planned, are left out.
    """
    reports: list[CellReport] = []
    failures: list[FailedReport] = []
    stale, unplanned = [], []
    for bundle in plan.bundles:
        for member in bundle.members:
            path = report_path(bundle.imbalance, bundle.bundle, member.member)
            if partial and not path.is_file():
                continue
            report = read_report(path)
            found = (report.benchmark, report.imbalance, report.variant, report.head, report.seed)
            if found != (plan.benchmark, bundle.imbalance, bundle.variant, member.head, member.seed):
                raise InputError(path, f"is of cell '{report.cell}', not the planned one")
            if report.recipe != member.recipe:
                unplanned.append(path)
                continue
            folder = model_path(bundle.imbalance, bundle.bundle, member.member)
            if folder.is_dir() and read_fingerprint(folder) not in (None, report.fingerprint):
                stale.append(path)
            if isinstance(report, FailedReport):
                failures.append(report)
                continue
            check_settings(path, report)
            if any(getattr(report.groups, field) != value for field, value in plan.groups):
                raise InputError(
                    path,
                    f"shot groups by '{report.groups.convention}' (many > {report.groups.many_above:g}, "
                    f"few {report.groups.few_below:g}), not as planned",
                )
            reports.append(report)
    if unplanned and not partial:
        raise InputError(listed(unplanned), "of other settings or code than planned")
    if stale:
        raise InputError(listed(stale), "of another training than the model of that name")
    for imbalance in plan.imbalances:
        check_images([report for report in reports if report.imbalance == imbalance])
    return reports, failures


def check_images(reports: Sequence[CellReport]) -> None:
    """Raise InputError unless all cells of one imbalance learned from the same images; names the fewer."""
    found: dict[str, list[CellReport]] = {}
    for report in reports:
        images = json.dumps([report.manifests, report.counts], sort_keys=True)
        found.setdefault(images, []).append(report)
    if len(found) > 1:
        usual = max(found.values(), key=len)
        others = [report.cell for part in found.values() if part is not usual for report in part]
        raise InputError(
            f"reports of {listed(others)}",
            f"{len(found)} different training sets at imbalance {reports[0].imbalance:g}, these cells "
            "learned from other images than the rest",
        )


def read_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the cell in `folder`, trained or failed; None if neither. Raises InputError."""
    path = next((folder / name for name in ("cell.json", FAILED) if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        return str(read_object(path)["fingerprint"])
    except KeyError:
        raise InputError(path, "damaged, no fingerprint in it") from None
