"""What is to be trained, from which images; without torch, so that a mistake is told at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtail.atomic import write_json
from longtail.benchmarks import Training
from longtail.errors import InputError
from longtail.fingerprints import fingerprint_facts
from longtail.json_files import read_object
from longtail.manifests import Manifest, disjoint_proof
from longtail.plans import BundlePlan, Cell
from longtail.pools import Pool

WEIGHTS_FILES = {"last": "weights.safetensors", "selected": "selected.safetensors"}
"""The file of each set of weights in the folder of a cell."""

RESULTS = (*WEIGHTS_FILES.values(), "history.parquet", "predictions.parquet")
"""What a training leaves in the folder of a cell, beside what it says of itself."""

FAILED = "failed.json"
"""Alone in the folder of a cell whose training failed."""


@dataclass(frozen=True)
class CellInputs:
    """The images of the cells of one bundle.

    There is no other way into a training, and none of these can be made whose training, meta and test images
    are not disjoint by content: that raises InputError (see `check_disjoint`).
    """

    pool: Pool
    images: np.ndarray | Path
    """uint8 [N, H, W, channels], manifests and pool point at its rows; or the root of the files that the pool
    names."""
    train: Manifest
    meta: Manifest

    disjoint: dict[str, Any] = field(init=False, repr=False)
    """The proof; see `disjoint_proof`."""

    def __post_init__(self) -> None:
        """Prove that the sets are disjoint."""
        test = self.pool.hash[self.pool.rows("test")]
        proof = disjoint_proof(self.train.hash, self.meta.hash, test, self.pool.shared)
        object.__setattr__(self, "disjoint", proof)

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
    network: str

    def write(self, directory: Path, **names: str) -> None:
        """Write into `directory`; `names` are added: what the cell is called."""
        write_json(directory / FAILED, {**asdict(self), **names})


def read_failure(directory: Path) -> Failure | None:
    """Why the cell of this folder failed; None where it did not. Raises InputError."""
    path = directory / FAILED
    if not path.is_file():
        return None
    remedy = "delete its folder, then the cell is trained again"
    found = read_object(path, remedy)
    try:
        texts = {name: str(found[name]) for name in ("fingerprint", "reason", "network")}
        return Failure(iteration=int(found["iteration"]), **texts)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged; {remedy}") from None


def read_facts(directory: Path) -> dict[str, Any]:
    """What the fingerprint of a cell in its folder is a hash of; empty where nobody kept it."""
    try:
        return read_object(directory / "fingerprint.json", "")
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
        expected = read_cell(directory).get("files")
    except InputError:
        return ["cell.json"]
    if not isinstance(expected, dict):
        return ["cell.json"]
    found = sums(directory)
    return [name for name, value in expected.items() if found.get(name) != value]


def read_cell(directory: Path) -> dict[str, Any]:
    """The facts of a finished cell. Raises InputError."""
    return read_object(directory / "cell.json", "`dvc repro` trains it", missing="no such cell")
