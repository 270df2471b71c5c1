"""The report of a cell, from what its training left in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from longtail.planning.plans import Cell, ShotGroupsPlan
    from longtail.reporting.reports import CellReport, FailedReport
    from longtail.running.cell_record import CellRecord

PREDICTIONS = "predictions.parquet"


def read_record(folder: Path, name: str) -> CellRecord:
    """The record of the cell called `name`. Raises InputError."""
    from longtail.errors import InputError, found_value
    from longtail.running.cell_folders import read_cell

    record = read_cell(folder)
    if record.cell != name:
        raise InputError(folder / "cell.json", f"is of cell {found_value(record.cell)}, not '{name}'")
    return record


def read_predictions(
    path: Path, classes: int, fingerprint: str, images: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels [N], and by column name the logits [N, C] of last and selected weights.

    Raises InputError if they are not those of the training `fingerprint`, or of the test `images`; see
    `longtail.data.manifests.set_digest`.
    """
    import json

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from longtail.data.manifests import set_digest
    from longtail.errors import InputError
    from longtail.reporting.accuracy import check_predictions

    if not path.is_file():
        raise InputError(path, "no such file, the test images are not predicted")
    try:
        table = pq.ParquetFile(path).read()
        found = json.loads(table.schema.metadata[b"longtail"])["fingerprint"]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        raise InputError(path, "truncated or not a file of predictions") from None
    if found != fingerprint:
        raise InputError(path, f"of training {found[:12]}, its cell.json says {fingerprint[:12]}")
    missing = {"hash", "label", "logits", "logits_selected"} - set(table.column_names)
    if missing:
        raise InputError(path, f"no column '{min(missing)}'")
    predicted = set_digest(str(content) for content in table["hash"].to_pylist())
    if predicted != images:
        raise InputError(
            path,
            f"of images {predicted[:12]}, its cell.json proves that the training never saw the test set "
            f"{images[:12]}",
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
        raise InputError(path, reason) from None
    return labels, logits


def check_unchanged(folder: Path, record: CellRecord) -> None:
    """Raise InputError unless the predictions in `folder` are, to the byte, those that the training left."""
    from longtail.errors import InputError
    from longtail.running.cell_folders import sums

    if sums(folder, [PREDICTIONS]).get(PREDICTIONS) != record.files.get(PREDICTIONS):
        raise InputError(folder / PREDICTIONS, "changed since its training wrote it (sha256)")


def report_failure(folder: Path, cell: Cell) -> FailedReport | None:
    """The report of a cell whose training failed; None if it did not. Raises InputError."""
    import json

    from pydantic import ValidationError

    from longtail.errors import InputError, one_line
    from longtail.reporting.reports import FailedReport
    from longtail.running.cell_folders import FAILED

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
        raise InputError(path, one_line(error)) from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(path, "damaged") from None
    if report.cell != cell.name:
        raise InputError(path, f"is of cell '{report.cell}', not '{cell.name}'")
    return report


def report_on(folder: Path, cell: Cell, groups: ShotGroupsPlan) -> CellReport | FailedReport:
    """The report of `cell`, trained or failed in `folder`. Raises InputError."""
    return report_failure(folder, cell) or report_scores(folder, cell.name, groups)


def report_scores(folder: Path, name: str, groups: ShotGroupsPlan) -> CellReport:
    """The report of the cell called `name`, trained in `folder`. Raises InputError."""
    import numpy as np
    from pydantic import ValidationError

    from longtail.errors import InputError, one_line
    from longtail.reporting.accuracy import (
        expected_calibration_error,
        group_accuracy,
        percent_per_class,
        shot_groups,
    )
    from longtail.reporting.reports import CellReport, Scores, ShotGroups

    record = read_record(folder, name)
    labels, logits = read_predictions(
        folder / PREDICTIONS, len(record.counts), record.fingerprint, record.disjoint.test.sha256
    )
    check_unchanged(folder, record)  # last: the other checks say more
    members = shot_groups(record.counts, groups.thresholds, groups.convention)

    def scores(column: str) -> Scores:
        accuracies = percent_per_class(logits[column], labels)
        return Scores(
            accuracy=group_accuracy(logits[column], labels, members),
            per_class=[None if np.isnan(value) else float(value) for value in accuracies],
            ece=expected_calibration_error(logits[column], labels),
        )

    copied = set(CellReport.model_fields) - {*Scores.model_fields, "groups", "selected"}
    try:
        return CellReport(
            **record.model_dump(include=copied),
            **scores("logits").model_dump(),
            selected=scores("logits_selected"),
            groups=ShotGroups(**groups.model_dump(), members=members),
        )
    except ValidationError as error:
        raise InputError(folder / "cell.json", one_line(error)) from None
