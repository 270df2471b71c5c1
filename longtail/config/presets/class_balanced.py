"""Class-Balanced loss (Cui et al., CVPR 2019)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


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
    benchmarks={"digits-lt": {"beta": 0.99}},
    variants={"class_balanced": {}},
    sources={
        "beta": "Cui et al.'s code; 0.9 in Difficulty-Net's, which puts ratios in place of counts",
        "digits-lt.beta": "our choice, because at 114 images 0.9999 would be inverse counts",
        "loss": "our reading: Difficulty-Net's code has the softmax form; Cui et al. have all three",
        "gamma": "Difficulty-Net's code and LDAM's; Cui et al. searched 0.5, 1 and 2",
    },
)
