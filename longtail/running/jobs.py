"""What to train, on which images; without torch, so that mistakes are reported at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtail.data.manifests import Manifest, disjoint_proof
from longtail.data.pools import Pool
from longtail.planning.fingerprints import fingerprint_facts
from longtail.planning.plans import PlannedTraining
from longtail.training.ranks import ALONE, Ranks


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
        return {"train": self.train.fingerprint, "meta": self.meta.fingerprint, "pool": self.pool.fingerprint}


@dataclass(frozen=True)
class Job(PlannedTraining):
    """A training with everything a worker needs to run it, apart from the images."""

    features: Path | None = None
    """For a head: the folder of the cell whose features it uses."""
    weights: Path | None = None
    """Of a pretrained backbone."""
    device: str = "cpu"
    ranks: Ranks = ALONE
    """This process among those that train the cell together."""
    decoders: int = 0
    """Processes that decode image files during the training."""
    checkpoint: Path | None = None
    checkpoint_share: float = 0.01
    """Share of the training time that checkpoints after epochs may take."""
    checkpoint_seconds: float = 300.0
    """Longest time without a checkpoint, also within an epoch."""

    def facts(self, inputs: CellInputs) -> dict[str, Any]:
        """The facts whose hash is the fingerprint."""
        return fingerprint_facts(self.plan, self.cell, inputs.fingerprints)
