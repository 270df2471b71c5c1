"""CB-DA (Jamal et al., CVPR 2020)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import Passes, Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of CB-DA; defaults are those of the authors' code."""

    start: float = Field(0.8, ge=0, le=1)
    """Part of the training before the first epoch with weights: 160 of 200 epochs in the authors' code."""
    beta: float = Field(0.9999, ge=0, lt=1)
    """Of the class-balanced weights."""
    epsilon_learning_rate: float = Field(0.01, ge=0, allow_inf_nan=False)
    """eta, the size of the step on eps; 0 leaves class-balanced cross-entropy."""
    meta_batches: Literal["draws", "passes"] = "draws"
    """draws: images of the meta set, drawn again at each step and augmented as training images are, as in the
    release. passes: shuffled passes without augmentation, as in Difficulty-Net's code."""


PRESET = Preset(
    name="cb_da",
    stage="represent",
    summary="class-balanced weights plus a meta-learned term for every image, late in the training",
    settings=Settings,
    passes=lambda settings: Passes(3 + 4 * (1 - settings["start"]), 3 * (1 - settings["start"])),
    benchmarks={"digits-lt": {"beta": 0.99, "start": 0.5}},
    variants={"cb_da": {}},
    sources={
        "start": "the authors' code: epoch 160 of 200",
        "beta epsilon_learning_rate meta_batches": "the authors' code",
        "digits-lt.beta": "our choice, because at 114 images 0.9999 would be inverse counts",
        "digits-lt.start": "our choice, because the learning rate first drops at 0.5, in the authors' "
        "schedule at 0.8",
    },
)
