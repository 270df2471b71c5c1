"""The report of a cell, from what its training left in its folder."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from longtail.data.manifests import set_digest
from longtail.errors import InputError, flat, found_value, one_line
from longtail.parquet_files import read_parquet, schema_of
from longtail.planning.plans import Cell, ShotGroupsPlan
from longtail.reporting.accuracy import (
    check_predictions,
    correct,
    expected_calibration_error,
    group_accuracy,
    pack,
    percent_per_class,
    shot_groups,
)
from longtail.reporting.reports import CellReport, FailedReport, Scores, ShotGroups
from longtail.running.cell_folders import FAILED, HISTORY, read_cell, sums
from longtail.running.cell_record import CellRecord

PREDICTIONS = "predictions.parquet"


def read_record(folder: Path, name: str) -> CellRecord:
    """The record of the cell called `name`. Raises InputError."""
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
    matrix = pa.list_(pa.float32())
    schema = schema_of(
        image=pa.int64(), label=pa.int64(), hash=pa.string(), logits=matrix, logits_selected=matrix
    )
    table, header = read_parquet(path, "predictions", schema)
    found = str(header.get("fingerprint"))
    if found != fingerprint:
        raise InputError(path, f"of training {found[:12]}, its cell.json says {fingerprint[:12]}")
    predicted = set_digest(table["hash"].to_pylist())
    if predicted != images:
        raise InputError(
            path,
            f"of images {predicted[:12]}, its cell.json proves that the training never saw the test set "
            f"{images[:12]}",
        )
    logits = {}
    try:
        # DLPack, for pyarrow's own to_numpy imports pandas; it refuses nulls
        labels = np.from_dlpack(table["label"].combine_chunks()).astype(np.int64)
        for name in ("logits", "logits_selected"):
            column = table[name].combine_chunks()
            lengths = np.from_dlpack(column.value_lengths())
            wrong = lengths[lengths != classes]
            if len(wrong):
                raise ValueError(f"{wrong[0]} {name} for an image, not one for each of {classes} classes")
            logits[name] = np.from_dlpack(column.flatten()).reshape(-1, classes)
            check_predictions(logits[name], labels)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(path, flat(error)) from None
    return labels, logits


def check_unchanged(folder: Path, record: CellRecord) -> None:
    """Raise InputError unless the predictions in `folder` are, to the byte, those that the training left."""
    if sums(folder, [PREDICTIONS]).get(PREDICTIONS) != record.files.get(PREDICTIONS):
        raise InputError(folder / PREDICTIONS, "changed since its training wrote it (sha256)")


def report_failure(folder: Path, cell: Cell) -> FailedReport | None:
    """The report of a cell whose training failed; None if it did not. Raises InputError."""
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

    copied = set(CellReport.model_fields) - {*Scores.model_fields, "groups", "selected", "correct", "history"}
    try:
        return CellReport(
            **record.model_dump(include=copied),
            **scores("logits").model_dump(),
            selected=scores("logits_selected"),
            correct=pack(correct(logits["logits"], labels)),
            history=record.files.get(HISTORY),
            groups=ShotGroups(**groups.model_dump(), members=members),
        )
    except ValidationError as error:
        raise InputError(folder / "cell.json", one_line(error)) from None
