"""Accuracy and calibration of the cells of one bundle, from the predictions that their training saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages import console, paths

if TYPE_CHECKING:
    import numpy as np

    from longtail.plans import Cell, ShotGroupsPlan
    from longtail.reports import CellReport, FailedReport

REMEDY = "run `dvc repro`"
PREDICTIONS = "predictions.parquet"


def read_facts(folder: Path, name: str) -> dict[str, Any]:
    """The cell.json of the cell called `name`. Raises InputError."""
    from longtail.errors import InputError, found_value
    from longtail.json_files import read_object

    path = folder / "cell.json"
    cell = read_object(path, REMEDY, missing="no such file, the cell is not trained")
    if cell.get("cell") != name:
        raise InputError(f"{path}: is of cell {found_value(cell.get('cell'))}, not '{name}'; {REMEDY}")
    missing = [key for key in ("counts", "class_names", "fingerprint") if not cell.get(key)]
    if missing:
        raise InputError(f"{path}: no '{missing[0]}' in it; {REMEDY}")
    counts, names = cell["counts"], cell["class_names"]
    if not (isinstance(counts, list) and all(type(n) is int and n > 0 for n in counts)):
        raise InputError(f"{path}: counts {found_value(counts)}, no images of each class; {REMEDY}")
    if not isinstance(names, list) or len(names) != len(counts):
        raise InputError(f"{path}: class_names are not {len(counts)}, as counts are; {REMEDY}")
    if not isinstance(cell["fingerprint"], str):
        raise InputError(f"{path}: fingerprint {found_value(cell['fingerprint'])}; {REMEDY}")
    return cell


def read_predictions(
    path: Path, classes: int, fingerprint: str, images: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels [N], and by column name the logits [N, C] of last and selected weights.

    Raises InputError where they are not those of the training `fingerprint`, or of the test `images`; see
    `longtail.manifests.set_digest`.
    """
    import json

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from longtail.accuracy import check_predictions
    from longtail.errors import InputError
    from longtail.manifests import set_digest

    if not path.is_file():
        raise InputError(f"{path}: no such file, the test images are not predicted; {REMEDY}")
    try:
        table = pq.ParquetFile(path).read()
        found = json.loads(table.schema.metadata[b"longtail"])["fingerprint"]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: truncated or not a file of predictions; {REMEDY}") from None
    if found != fingerprint:
        raise InputError(f"{path}: of training {found[:12]}, its cell.json says {fingerprint[:12]}; {REMEDY}")
    missing = {"hash", "label", "logits", "logits_selected"} - set(table.column_names)
    if missing:
        raise InputError(f"{path}: no column '{min(missing)}'; {REMEDY}")
    predicted = set_digest(str(content) for content in table["hash"].to_pylist())
    if predicted != images:
        raise InputError(
            f"{path}: of images {predicted[:12]}, its cell.json proves that the training never saw the test "
            f"set {images[:12]}; {REMEDY}"
        )
    logits = {}
    try:
        # DLPack, for pyarrow's own to_numpy imports pandas; it refuses nulls
        labels = np.from_dlpack(table["label"].combine_chunks()).astype(np.int64, casting="safe")
        for name in ("logits", "logits_selected"):
            column = table[name].combine_chunks()
            if not pa.types.is_list(column.type):
                raise ValueError(f"{name} is of type {column.type}, not a list for each image")
            lengths = np.from_dlpack(column.value_lengths())
            wrong = lengths[lengths != classes]
            if len(wrong):
                raise ValueError(f"{wrong[0]} {name} for an image, not one for each of {classes} classes")
            logits[name] = np.from_dlpack(column.flatten()).astype(np.float32).reshape(-1, classes)
            check_predictions(logits[name], labels)
    except (ValueError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: {reason}; {REMEDY}, or mend the training that left this") from None
    return labels, logits


def check_unchanged(folder: Path, cell: dict[str, Any]) -> None:
    """Raise InputError unless the predictions in `folder` are, to the byte, those that the training left."""
    from longtail.errors import InputError
    from longtail.jobs import sums

    expected = cell["files"].get(PREDICTIONS) if isinstance(cell.get("files"), dict) else None
    if sums(folder, [PREDICTIONS]).get(PREDICTIONS) != expected:
        raise InputError(f"{folder / PREDICTIONS}: changed since its training wrote it (sha256); {REMEDY}")


def report_failure(folder: Path, cell: Cell) -> FailedReport | None:
    """The report of a cell whose training failed; None where it did not. Raises InputError."""
    import json

    from pydantic import ValidationError

    from longtail.errors import InputError, one_line
    from longtail.jobs import FAILED
    from longtail.reports import FailedReport

    path = folder / FAILED
    if not path.is_file():
        return None
    copied = ("iteration", "cell", "fingerprint", "recipe", "network", "variant")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        report = FailedReport(
            failed=found["reason"],
            **{name: found[name] for name in copied},
            **{name: getattr(cell, name) for name in ("benchmark", "imbalance", "head", "seed")},
        )
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}; {REMEDY}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{path}: damaged; {REMEDY}") from None
    if report.cell != cell.name:
        raise InputError(f"{path}: is of cell '{report.cell}', not '{cell.name}'; {REMEDY}")
    return report


def report_on(folder: Path, cell: Cell, groups: ShotGroupsPlan) -> CellReport | FailedReport:
    """The report of `cell`, trained or failed in `folder`. Raises InputError."""
    return report_failure(folder, cell) or report_scores(folder, cell.name, groups)


def report_scores(folder: Path, name: str, groups: ShotGroupsPlan) -> CellReport:
    """The report of the cell called `name`, trained in `folder`. Raises InputError."""
    import numpy as np
    from pydantic import ValidationError

    from longtail.accuracy import class_accuracy, group_accuracy
    from longtail.calibration import expected_calibration_error
    from longtail.errors import InputError, one_line
    from longtail.profiles import shot_groups
    from longtail.reports import CellReport, DisjointSets, Scores, ShotGroups

    cell = read_facts(folder, name)
    scored = {*Scores.model_fields, "groups", "selected"}
    copied = [field for field in CellReport.model_fields if field not in scored]
    missing = [field for field in copied if field not in cell]
    if missing:
        raise InputError(f"{folder / 'cell.json'}: no '{missing[0]}' in it; {REMEDY}")
    try:
        proof = DisjointSets.model_validate(cell["disjoint"])
    except ValidationError as error:
        raise InputError(f"{folder / 'cell.json'}: disjoint.{one_line(error)}; {REMEDY}") from None
    labels, logits = read_predictions(
        folder / PREDICTIONS, len(cell["counts"]), cell["fingerprint"], proof.test.sha256
    )
    check_unchanged(folder, cell)  # last, for the others say more
    members = shot_groups(cell["counts"], groups.thresholds, groups.convention)

    def scores(column: str) -> Scores:
        accuracies = class_accuracy(logits[column], labels)
        return Scores(
            accuracy=group_accuracy(logits[column], labels, members),
            per_class=[None if np.isnan(value) else float(value) for value in accuracies],
            ece=expected_calibration_error(logits[column], labels),
        )

    try:
        return CellReport(
            **{field: cell[field] for field in copied},
            **scores("logits").model_dump(),
            selected=scores("logits_selected"),
            groups=ShotGroups(**groups.model_dump(), members=members),
        )
    except ValidationError as error:
        raise InputError(f"{folder / 'cell.json'}: {one_line(error)}; {REMEDY}") from None


def main(
    imbalance: Annotated[float, typer.Argument(help="n_max / n_min of the training set.")],
    bundle: Annotated[str | None, typer.Argument(help="Only this one: cross_entropy-heads, ...")] = None,
    benchmark: Annotated[str, typer.Option(help="Which benchmark.")] = "digits-lt",
) -> None:
    """Write the reports of all cells at one imbalance: accuracy by shot group and class, calibration."""
    from longtail.atomic import write_json
    from longtail.plans import check_code, read_evaluation
    from longtail.reports import FailedReport

    plan_path = paths.evaluation_plan(benchmark, imbalance)
    plan = read_evaluation(plan_path)
    check_code(plan_path, plan.code)
    cells, groups = plan.cells(bundle), plan.groups
    console.say(
        "evaluate",
        f"{benchmark} imb{imbalance:g}{f' {bundle}' if bundle else ''}: {len(cells)} cells; shot groups by "
        f"{groups.convention}, thresholds {groups.many_above:g} and {groups.few_below:g}",
    )
    reports = []
    with console.progress("evaluate", len(cells), "cells") as shown:
        for cell in cells:
            folder = paths.model(benchmark, imbalance, cell.bundle, cell.member)
            reports.append(report_on(folder, cell, groups))
            shown.reach(len(reports))
    for cell, report in zip(cells, reports, strict=True):  # only once every cell has proved sound
        path = paths.cell_report(benchmark, imbalance, cell.bundle, cell.member)
        write_json(path, report.model_dump(mode="json"))
    sound = [report for report in reports if not isinstance(report, FailedReport)]
    means = []
    for split in ("all", "few"):
        values = [value for report in sound if (value := report.accuracy[split]) is not None]
        means += [f"{split} {sum(values) / len(values):.1f} %"] if values else []
    text = ", ".join([f"{len(sound)} reports", *([f"mean accuracy {', '.join(means)}"] if means else [])])
    failed = [report.cell for report in reports if isinstance(report, FailedReport)]
    console.done("evaluate", text + (f"; {len(failed)} cells FAILED: {', '.join(failed)}" if failed else ""))


if __name__ == "__main__":
    console.run(main)
