"""What a finished training says about itself: the schema of `cell.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from longtail.config.records import Frozen
from longtail.config.training import Training
from longtail.data.image_files import UPRIGHT, PixelRules
from longtail.training.choices import Choice

Side = Annotated[int, Field(ge=1, le=4096)]
"""Of an image, in pixels."""


class SetDigest(Frozen):
    """The number of images, and the sha256 of their content hashes (sorted, one a line)."""

    images: int = Field(ge=1)
    sha256: str


class DisjointSets(Frozen):
    """The proof made before the first step of a training; see `longtail.data.manifests.disjoint_proof`."""

    train: SetDigest
    meta: SetDigest
    test: SetDigest
    shared: int = Field(ge=0)
    """Training or meta images that are also test images: only with `duplicates: keep`."""


class CellRecord(Frozen):
    """One finished training. Training counts and class names are in class order."""

    fingerprint: str = Field(min_length=1)
    benchmark: str
    imbalance: float
    method: str
    head: str | None
    seed: int
    settings: dict[str, Any]
    """Of the head if there is one, else of the method."""
    training: Training
    network: str
    parameters: int
    iterations: int
    selected_iteration: int
    """The iteration of the weights that did best on the meta set."""
    counts: list[Annotated[int, Field(ge=1)]] = Field(min_length=2)
    class_names: list[str]
    image_shape: tuple[Side, Side, Literal[1, 3]]
    """(H, W, channels)."""
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    manifests: dict[str, str]
    """Fingerprints of training set, meta set and pool."""
    disjoint: DisjointSets
    device: str
    versions: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    """The sha256 of each result of the training, by file name."""
    pixel_rules: PixelRules = UPRIGHT
    """How image files became the images that it was trained on."""
    features: str | None = None
    """For a head: the fingerprint of the training whose features it uses."""
    ranks: int = Field(default=1, ge=1)
    """Processes that trained it together; see docs/several_gpus.md."""
    features_ranks: int = Field(default=1, ge=1)
    """For a head: those that trained its features."""
    choice: Choice | None = None
    """What the meta set chose, for the weights after the last iteration."""

    cell: str | None = None
    """The cell's name; this and the next two only once a training has the place of a cell."""
    variant: str | None = None
    recipe: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CellRecord:
        if len(self.class_names) != len(self.counts):
            raise ValueError(f"{len(self.class_names)} class_names for {len(self.counts)} counts")
        if not len(self.mean) == len(self.std) == self.image_shape[2]:
            raise ValueError("mean and std are not one number for each channel of image_shape")
        return self
