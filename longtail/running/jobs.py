"""What is to be trained, from which images; without torch, so that a mistake is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtail.config.benchmarks import Training
from longtail.data.manifests import Manifest, disjoint_proof
from longtail.data.pools import Pool
from longtail.planning.fingerprints import fingerprint_facts
from longtail.planning.plans import BundlePlan, Cell


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
