"""Classifier retraining with weight decay and MaxNorm (Alshammari et al., CVPR 2022)."""

from pydantic import Field

from longtail.config.presets.preset import BATCH_NORM, TRAINED_HEAD_SOURCES, Preset, TrainedHeadSettings

RADII = (0.1, 0.5, 1.0)
"""Candidates for the radius."""
DECAYS = (1e-4, 1e-3, 1e-2)
"""Candidates for the decay."""


class Settings(TrainedHeadSettings):
    """Settings of MaxNorm."""

    radius: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Of class vectors: 0 is stage 1's shortest, 1 its longest; None: the best of `RADII` on the meta set."""
    decay: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Weight decay; None: the best of `DECAYS` on the meta set."""


PRESET = Preset(
    name="maxnorm",
    stage="retrain",
    summary="a classifier of bounded class vectors on frozen features; bound and decay by the meta set",
    settings=Settings,
    benchmarks={"imagenet-lt": BATCH_NORM, "places-lt": BATCH_NORM},
    variants={"maxnorm": {}},
    training={"weight_decay": 0.0},
    sources={
        **TRAINED_HEAD_SOURCES,
        "radius": "our choice: that of Alshammari et al.'s code for CIFAR-100-LT, 0.1, and two wider ones",
        "decay": "our choice: from CIFAR-100-LT's own weight decay up to a hundred times of it",
        "training.weight_decay": "the method's own decay takes its place",
    },
)
