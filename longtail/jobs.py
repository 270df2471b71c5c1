"""What is to be trained, from which images; without torch, so that a mistake is told at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longtail.benchmarks import Training
from longtail.errors import InputError
from longtail.manifests import Manifest
from longtail.plans import BundlePlan, Cell
from longtail.pools import Pool

WEIGHTS_FILES = {"last": "weights.safetensors", "selected": "selected.safetensors"}
"""The file of each set of weights in the folder of a cell."""


@dataclass(frozen=True)
class CellInputs:
    """The images of the cells of one bundle."""

    pool: Pool
    images: np.ndarray | Path
    """uint8 [N, H, W, channels], manifests and pool point at its rows; or the root of the files that the pool
    names."""
    train: Manifest
    meta: Manifest

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the three tables."""
        return {
            "train": self.train.fingerprint,
            "meta": self.meta.fingerprint,
            "pool": self.pool.fingerprint,
        }


@dataclass(frozen=True)
class Job:
    """One cell to train."""

    plan: BundlePlan
    cell: Cell
    fingerprint: str
    features: Path | None = None
    """The folder of the cell below, for a head."""
    weights: Path | None = None
    """Of the backbone, where it is pretrained."""
    device: str = "cpu"
    decoders: int = 0
    """Processes that decode images beside the training, where they are files."""
    checkpoint: Path | None = None
    checkpoint_seconds: float = 60.0
    """At least this long between two checkpoints."""

    @property
    def training(self) -> Training:
        """The schedule of this cell."""
        return self.plan.heads[self.cell.head].training if self.cell.head else self.plan.training

    @property
    def method(self) -> str:
        """The method that trains."""
        return self.cell.head or self.plan.method

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `method`."""
        return self.plan.heads[self.cell.head].settings if self.cell.head else self.plan.settings


def read_cell(directory: Path) -> dict[str, Any]:
    """The facts of a finished cell. Raises InputError."""
    path = directory / "cell.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such cell; `dvc repro` trains it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); train the cell again") from None
