"""Balanced Meta-Softmax, BALMS (Ren et al., NeurIPS 2020): its second stage."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import (
    BATCH_NORM,
    TRAINED_HEAD_SOURCES,
    Passes,
    Preset,
    TrainedHeadSettings,
)


class Settings(TrainedHeadSettings):
    """Settings of BALMS; defaults are those of CIFAR in the released code."""

    meta_sampler: bool = True
    """False: every training image once an epoch, which leaves Balanced Softmax for a new classifier."""
    meta_set: Literal["training", "held_out"] = "training"
    """Where meta batches come from. training: class-balanced draws of augmented training images (the
    release on CIFAR). held_out: the meta set (on ImageNet-LT and Places-LT: its validation list)."""
    kappa: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Head start of small classes, r_c = pi_c^(-kappa); 0 on CIFAR, 0.1 on ImageNet-LT, 0.3 on Places-LT."""
    learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False)
    """Of Adam on the sampler's logits; 0.01 on CIFAR, 0.001 on the others."""


PRESET = Preset(
    name="balms",
    stage="retrain",
    summary="a new linear classifier with Balanced Softmax, class sampling rates meta-learned",
    settings=Settings,
    passes=lambda settings: Passes(1, 1 if settings["meta_sampler"] else 0),
    benchmarks={
        "digits-lt": {"kappa": 0.3},
        "imagenet-lt": {**BATCH_NORM, "kappa": 0.1, "learning_rate": 1e-3, "meta_set": "held_out"},
        "places-lt": {**BATCH_NORM, "kappa": 0.3, "learning_rate": 1e-3, "meta_set": "held_out"},
    },
    variants={"balms": {}},
    training={"sampler": "shuffled"},
    sources={
        **TRAINED_HEAD_SOURCES,
        "meta_sampler": "Ren et al.: their Meta Sampler",
        "meta_set kappa learning_rate": "the authors' code, CIFAR at imbalance 200",
        "digits-lt.kappa": "our choice, because in 90 iterations equal rates hardly move; 0, 0.1 and 0.3 do "
        "about equally well on the meta set",
        "imagenet-lt.meta_set imagenet-lt.kappa imagenet-lt.learning_rate": "the authors' code, ImageNet-LT",
        "places-lt.meta_set places-lt.kappa places-lt.learning_rate": "the authors' code, Places-LT",
        "training.sampler": "the authors' code; the meta sampler replaces it",
    },
)
