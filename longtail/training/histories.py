"""What happened in a training, epoch by epoch: no wall time, so equal trainings give equal bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa

from longtail.errors import InputError
from longtail.parquet_files import read_parquet, write_parquet

SCALARS = (
    "lr",
    "train_loss",
    "meta_loss",
    "driver_loss",
    "grad_norm_driver",
    "grad_norm_meta",
    "entropy",
    "meta_accuracy",
)
"""Columns of float64; NaN where a method has no such thing."""

CLASSWISE = ("accuracy", "difficulty", "weight")
"""Columns of lists [C]; null where a method has no such thing."""

SCHEMA = pa.schema(
    [("epoch", pa.int64()), ("iteration", pa.int64())]
    + [(name, pa.float64()) for name in SCALARS]
    + [(name, pa.list_(pa.float64())) for name in CLASSWISE]
)


@dataclass
class History:
    """Rows in the order of epochs; row 0 stands before any training.

    Losses and gradient norms are means over the epoch's iterations; `accuracy`, `difficulty`, `weight`
    and `entropy` are those in force at its end, after the accuracies were refreshed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **values: Any) -> None:
        """Append one epoch; scalars left out are NaN, classwise values left out are null."""
        row: dict[str, Any] = {name: float("nan") for name in SCALARS}
        row.update(dict.fromkeys(CLASSWISE))
        unknown = set(values) - set(SCHEMA.names)
        if unknown:
            raise ValueError(f"history has no column {sorted(unknown)}")
        self.rows.append({**row, **values})

    def write(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write as parquet; `metadata` (fingerprint, cell) goes into the schema."""
        write_parquet(path, pa.Table.from_pylist(self.rows, schema=SCHEMA), metadata)


def read_history(path: Path, fingerprint: str | None = None) -> pa.Table:
    """The history at `path`.

    Raises InputError if it is missing, broken, of another form or not of the training `fingerprint`.
    """
    table, header = read_parquet(path, "history", SCHEMA)
    found = str(header.get("fingerprint"))
    if fingerprint not in (None, found):
        raise InputError(path, f"of training {found[:12]}, its report says {fingerprint[:12]}")
    steps = table["iteration"].to_pylist()
    if None in steps or any(later <= step for step, later in pairwise(steps)):
        raise InputError(path, "iterations that are missing or do not rise")
    for name in SCALARS:
        wrong = [row for row, value in enumerate(table[name].to_pylist()) if value in (inf, -inf)]
        if wrong:
            raise InputError(path, f"{name} is infinite in row {wrong[0]}")
    return table
