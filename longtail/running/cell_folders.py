"""The folder of a trained cell: what lies in it, and whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from longtail.errors import InputError, one_line
from longtail.files import read_object, write_json
from longtail.running.cell_record import CellRecord

WEIGHTS_FILES = {"last": "weights.safetensors", "selected": "selected.safetensors"}
"""The file of each set of weights in the folder of a cell."""

RESULTS = (*WEIGHTS_FILES.values(), "history.parquet", "predictions.parquet")
"""What a training leaves in the folder of a cell, beside what it says of itself."""

FAILED = "failed.json"
"""Alone in the folder of a cell whose training failed."""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result: `failed.json`, alone in its folder."""

    fingerprint: str
    reason: str
    """One line."""
    iteration: int
    """How many iterations were done, the bad one included; 0 where the training never began."""
    network: str

    def write(self, directory: Path, **names: str) -> None:
        """Write into `directory`; `names` are added: what the cell is called."""
        write_json(directory / FAILED, {**asdict(self), **names})


def read_failure(directory: Path) -> Failure | None:
    """Why the cell of this folder failed; None where it did not. Raises InputError."""
    path = directory / FAILED
    if not path.is_file():
        return None
    found = read_object(path)
    try:
        texts = {name: str(found[name]) for name in ("fingerprint", "reason", "network")}
        return Failure(iteration=int(found["iteration"]), **texts)
    except (ValueError, KeyError, TypeError):
        raise InputError(path, "damaged") from None


def read_fingerprint_facts(directory: Path) -> dict[str, Any]:
    """What the fingerprint of a cell in its folder is a hash of; empty where nobody kept it."""
    try:
        return read_object(directory / "fingerprint.json")
    except InputError:
        return {}


def sums(directory: Path, names: Sequence[str] = RESULTS) -> dict[str, str]:
    """The sha256 of each of `names` that is there, by name."""
    found = {}
    for name in names:
        if (directory / name).is_file():
            with (directory / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def damaged(directory: Path) -> list[str]:
    """The files of a finished cell that are not as its training left them."""
    try:
        expected = read_cell(directory).files
    except InputError:
        return ["cell.json"]
    if not expected:
        return ["cell.json"]
    found = sums(directory)
    return [name for name, value in expected.items() if found.get(name) != value]


def read_cell(directory: Path) -> CellRecord:
    """The record of the finished training in `directory`. Raises InputError."""
    path = directory / "cell.json"
    try:
        return CellRecord.model_validate(read_object(path, missing="no such cell"))
    except ValidationError as error:
        raise InputError(path, one_line(error).removesuffix("; add it")) from None


def write_cell_record(directory: Path, record: CellRecord) -> None:
    """Write `cell.json` into `directory`."""
    write_json(directory / "cell.json", record.model_dump(mode="json", exclude_unset=True))
