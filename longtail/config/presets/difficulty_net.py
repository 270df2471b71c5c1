"""Difficulty-Net (Sinha & Ohashi, WACV 2023)."""

from typing import Any, Literal

from pydantic import Field

from longtail.config.presets.preset import LOOK_AHEAD, PLAIN, Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of Difficulty-Net; defaults are those of CIFAR-100-LT in the authors' code."""

    lambda_: float = Field(0.3, alias="lambda", ge=0, le=1e6, allow_inf_nan=False)
    """Weight of the driver loss in Eq. 8."""
    loss: Literal["cross_entropy", "balanced_softmax"] = "cross_entropy"
    """L in Eqs. 5, 9 and 11."""
    meta_loss: Literal["cross_entropy", "balanced_softmax"] = "cross_entropy"
    """L_meta in Eq. 8, whose images are balanced; balanced_softmax where L is, as the authors' code for
    ImageNet-LT and Places-LT has it."""
    first_accuracies: Literal["zero", "measured"] = "zero"
    """Before the first epoch; the authors' code for ImageNet-LT and Places-LT measures them."""
    difficulty: Literal["relative", "absolute"] = "relative"
    """relative: d = D(a_1..a_C), Eq. 1. absolute: d_c = D(a_c), one scalar network for all classes."""
    driver_loss: bool = True
    """False leaves only the meta loss in Eq. 8."""
    driver_reduction: Literal["mean", "sum"] = "mean"
    """Over classes in Eq. 7: the printed formula shows a sum, the authors' code takes the mean."""
    meta_gradient: Literal["exact", "detached"] = "exact"
    """exact: Eq. 10 through the inner step. detached: zero, as the authors' release computes it."""
    weighting: Literal["per_image", "averaged"] = "per_image"
    """averaged: mean loss times mean weight of the batch, as the authors' release has "+ Bal. Softmax"."""
    hidden: int = Field(128, ge=1, le=65536)
    """Width of both hidden layers."""
    bias: bool = False
    """Whether the linear layers of D have biases (in the authors' code not on CIFAR)."""
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    """Of Adam on theta."""
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)
    """Of Adam on theta (added to the gradient)."""


RELEASED: dict[str, dict[str, Any]] = {
    "difficulty_net_detached": {"first_accuracies": "measured"},
    "difficulty_net_balanced_softmax_released": {
        "first_accuracies": "measured",
        "meta_loss": "balanced_softmax",
    },
}
"""What the authors' code for ImageNet-LT and Places-LT does otherwise than that for CIFAR."""

PRESET = Preset(
    name="difficulty_net",
    stage="represent",
    summary="class weights from difficulties that a small network, meta-learned, predicts from accuracies",
    settings=Settings,
    passes=lambda settings: PLAIN if settings["meta_gradient"] == "detached" else LOOK_AHEAD,
    benchmarks={
        "digits-lt": {"hidden": 32, "learning_rate": 3e-3},
        "imagenet-lt": {"hidden": 1024, "bias": True, "learning_rate": 1e-3},
        "places-lt": {"hidden": 512, "bias": True, "learning_rate": 1e-3},
    },
    variants={
        "difficulty_net": {},
        "difficulty_net_balanced_softmax": {"loss": "balanced_softmax"},
        "difficulty_net_detached": {"meta_gradient": "detached"},
        "difficulty_net_balanced_softmax_released": {
            "loss": "balanced_softmax",
            "meta_gradient": "detached",
            "weighting": "averaged",
        },
        "difficulty_net_absolute": {"difficulty": "absolute"},
        "difficulty_net_lambda_0": {"lambda": 0.0},
        "difficulty_net_lambda_0.3": {"lambda": 0.3},
        "difficulty_net_lambda_0.6": {"lambda": 0.6},
        "difficulty_net_lambda_0.9": {"lambda": 0.9},
        "difficulty_net_lambda_1": {"lambda": 1.0},
    },
    benchmark_variants={"imagenet-lt": RELEASED, "places-lt": RELEASED},
    sources={
        "lambda": "the paper, Sec. 4.2; Difficulty-Net's code",
        "loss meta_loss difficulty driver_loss": "the paper, Eqs. 1, 5 and 8",
        "first_accuracies": "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment.py",
        "driver_reduction": "Difficulty-Net's code; the printed Eq. 7 shows a sum",
        "meta_gradient weighting": "the paper, Eqs. 5 and 10; the other value is Difficulty-Net's code",
        "hidden bias learning_rate weight_decay": "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment.py",
        "digits-lt.hidden digits-lt.learning_rate": "our choice, because theta must learn in 150 iterations",
        "imagenet-lt.hidden imagenet-lt.learning_rate": "Difficulty-Net's code, "
        "ImageNet_Places-LT/config/imagenet",
        "places-lt.hidden places-lt.learning_rate": "Difficulty-Net's code, ImageNet_Places-LT/config/places",
        "imagenet-lt.bias places-lt.bias": "Difficulty-Net's code, ImageNet_Places-LT",
    },
)
