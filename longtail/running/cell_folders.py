"""The folder of a trained cell: its files, its record, and whether it is intact."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from longtail.errors import InputError, one_line
from longtail.files import read_object, write_json
from longtail.running.cell_record import CellRecord

Weights = Literal["last", "selected"]
WEIGHTS_FILES: dict[Weights, str] = {"last": "weights.safetensors", "selected": "selected.safetensors"}
"""The file of each set of weights in the folder of a cell."""

HISTORY = "history.parquet"

RESULTS = (*WEIGHTS_FILES.values(), HISTORY, "predictions.parquet")
"""The results of a training in the folder of its cell."""

FAILED = "failed.json"
"""The only file in the folder of a cell whose training failed."""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result: the content of `failed.json`."""

    fingerprint: str
    reason: str
    """One line."""
    iteration: int
    """Iterations done, the bad one included; 0 if the training never began."""
    network: str
    ranks: int = 1
    """Processes that trained it together; left out of the file if it is 1."""

    def write(self, directory: Path, **names: str) -> None:
        """Write into `directory`, with the `names` of the cell."""
        facts = {name: value for name, value in asdict(self).items() if (name, value) != ("ranks", 1)}
        write_json(directory / FAILED, {**facts, **names})


def read_failure(directory: Path) -> Failure | None:
    """Why the cell of this folder failed; None if it did not. Raises InputError."""
    path = directory / FAILED
    if not path.is_file():
        return None
    found = read_object(path)
    try:
        texts = {name: str(found[name]) for name in ("fingerprint", "reason", "network")}
        return Failure(iteration=int(found["iteration"]), ranks=int(found.get("ranks", 1)), **texts)
    except (ValueError, KeyError, TypeError):
        raise InputError(path, "damaged") from None


def read_fingerprint_facts(directory: Path) -> dict[str, Any]:
    """The facts behind the fingerprint of the cell in `directory`; empty if they are missing."""
    try:
        return read_object(directory / "fingerprint.json")
    except InputError:
        return {}


def sums(directory: Path, names: Sequence[str] = RESULTS) -> dict[str, str]:
    """The sha256 of each existing file of `names`, by name."""
    found = {}
    for name in names:
        if (directory / name).is_file():
            with (directory / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def damaged(directory: Path) -> list[str]:
    """The files of a finished cell that have changed since its training."""
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
