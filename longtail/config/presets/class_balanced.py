"""Class-Balanced loss (Cui et al., CVPR 2019)."""

from typing import Literal

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of the Class-Balanced loss."""

    beta: float = Field(0.9999, ge=0, lt=1)
    """0: no weights; towards 1: inverse counts. Cui et al.'s code has 0.9999, Difficulty-Net's 0.9."""
    loss: Literal["softmax", "sigmoid", "focal"] = "softmax"
    """What is weighted: softmax or sigmoid cross-entropy, or the focal loss in its sigmoid form."""
    gamma: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Of the focal loss; Cui et al. searched 0.5, 1 and 2."""


PRESET = Preset(
    name="class_balanced",
    stage="represent",
    summary="cross-entropy weighted by the inverse of the effective number of images",
    settings=Settings,
    # about a hundred images in the largest class: with 0.9999 the weights would be inverse counts
    benchmarks={"digits-lt": {"beta": 0.99}},
    variants={"class_balanced": {}},
)
