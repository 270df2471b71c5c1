"""What is to be trained, from which images; without torch, so that a mistake is told at once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longtail.atomic import write_json
from longtail.benchmarks import Training
from longtail.errors import InputError
from longtail.fingerprints import fingerprint_facts
from longtail.manifests import Manifest
from longtail.plans import BundlePlan, Cell
from longtail.pools import Pool

WEIGHTS_FILES = {"last": "weights.safetensors", "selected": "selected.safetensors"}
"""The file of each set of weights in the folder of a cell."""

FAILED = "failed.json"
"""Alone in the folder of a cell whose training failed."""


@dataclass(frozen=True)
class CellInputs:
    """The images of the cells of one bundle."""

    pool: Pool
    images: np.ndarray
    """uint8 [N, H, W, channels]; manifests and pool point at its rows."""
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
    device: str = "cpu"
    checkpoint: Path | None = None
    checkpoint_share: float = 0.01
    """The share of the training time that checkpoints after epochs may take."""
    checkpoint_seconds: float = 300.0
    """Never longer than this without a checkpoint, also within an epoch."""

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

    def facts(self, inputs: CellInputs) -> dict[str, Any]:
        """What the fingerprint is a hash of."""
        return fingerprint_facts(self.plan, self.cell, inputs.fingerprints)


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result: `failed.json`, alone in its folder."""

    fingerprint: str
    reason: str
    """One line."""
    iteration: int
    """How many iterations were done, the bad one included; 0 where the training never began."""

    def write(self, directory: Path, **names: str) -> None:
        """Write into `directory`; `names` are added: what the cell is called."""
        write_json(directory / FAILED, {**asdict(self), **names})


def read_failure(directory: Path) -> Failure | None:
    """Why the cell of this folder failed; None where it did not. Raises InputError."""
    path = directory / FAILED
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Failure(str(found["fingerprint"]), str(found["reason"]), int(found["iteration"]))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged; delete its folder, then the cell is trained again") from None


def read_facts(directory: Path) -> dict[str, Any]:
    """What the fingerprint of a cell in its folder is a hash of; empty where nobody kept it."""
    try:
        return json.loads((directory / "fingerprint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def read_cell(directory: Path) -> dict[str, Any]:
    """The facts of a finished cell. Raises InputError."""
    path = directory / "cell.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such cell; `dvc repro` trains it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); train the cell again") from None
