"""Equalization loss (Tan et al., CVPR 2020)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of the equalization loss; defaults as in public code for CIFAR-100-LT."""

    gamma: float = Field(0.9, ge=0, le=1)
    """Probability that a rare class is spared."""
    threshold: float = Field(0.005, ge=0, le=1)
    """lambda of the publication: classes with a smaller share of the training images are rare."""
    draw: Literal["element", "image", "batch"] = "element"
    """One draw for every class of every image (a public toolbox), every image, or the whole batch."""


PRESET = Preset(
    name="eql",
    stage="represent",
    summary="cross-entropy that spares rare classes from being pushed down",
    settings=Settings,
    benchmarks={"digits-lt": {"threshold": 0.05}, "imagenet-lt": {"threshold": 4.3e-4}},
    variants={"eql": {}},
    sources={
        "gamma threshold": "the code of CDB-loss and of Difficulty-Net; a public toolbox has them at "
        "imbalance 100",
        "draw": "a public toolbox; Difficulty-Net's code draws once a batch",
        "digits-lt.threshold": "our choice, because of ten classes half are then rare at imbalance 50",
        "imagenet-lt.threshold": "Tan et al., CVPR 2020, to our knowledge; no code to check it against",
    },
)
