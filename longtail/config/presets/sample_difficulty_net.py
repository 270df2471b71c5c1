"""Difficulty-Net without class-level weighting (Sinha & Ohashi, WACV 2023, Table 4 #8)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import LOOK_AHEAD, Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of the sample-level ablation; defaults are Difficulty-Net's on CIFAR-100-LT."""

    lambda_: float = Field(0.3, alias="lambda", ge=0, allow_inf_nan=False)
    """Weight of the driver loss in Eq. 8."""
    driver_reduction: Literal["mean", "sum"] = "mean"
    """Over the images of a batch in Eq. 7."""
    hidden: int = Field(128, ge=1, le=65536)
    """Width of both hidden layers."""
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    """Of Adam on theta."""
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)
    """Of Adam on theta (added to the gradient)."""


PRESET = Preset(
    name="sample_difficulty_net",
    stage="represent",
    summary="Difficulty-Net on the losses of single images instead of the accuracies of classes",
    settings=Settings,
    passes=lambda settings: LOOK_AHEAD,
    benchmarks={"digits-lt": {"hidden": 32, "learning_rate": 3e-3}},
    variants={"sample_difficulty_net": {}},
    sources={
        "lambda": "the paper, Sec. 4.2; Difficulty-Net's code",
        "driver_reduction hidden learning_rate weight_decay": "our choice, because there is no code: as "
        "difficulty_net on CIFAR-100-LT",
        "digits-lt.hidden digits-lt.learning_rate": "our choice, because theta must learn in 150 iterations: "
        "as difficulty_net",
    },
)
