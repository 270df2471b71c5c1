"""Equalization loss (Tan et al., CVPR 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of the equalization loss; defaults as in public code for CIFAR-100-LT at imbalance 100."""

    gamma: float = Field(0.9, ge=0, le=1)
    """Probability that a rare class is spared."""
    threshold: float = Field(0.005, ge=0, le=1)
    """lambda of the publication: classes with a smaller share of the training images are rare."""
    draw: Literal["element", "image", "batch"] = "element"
    """One draw for every class of every image (a public toolbox), every image, or the whole batch."""


def idle(settings: Mapping[str, Any], counts: Sequence[int]) -> str | None:
    """Why the loss is plain cross-entropy for training counts [C], or spares every class alike."""
    threshold = settings["threshold"]
    least, most = (count / sum(counts) for count in (min(counts), max(counts)))
    shares = f"(their shares of the training images: {least:.2g} to {most:.2g})"
    if least >= threshold:
        return f"threshold {threshold:g} makes no class rare {shares}, so eql is plain cross-entropy"
    if most < threshold:
        return f"threshold {threshold:g} makes every class rare {shares}"
    return None


PRESET = Preset(
    name="eql",
    stage="represent",
    summary="cross-entropy that spares rare classes from being pushed down",
    settings=Settings,
    benchmarks={
        "digits-lt": {"threshold": 0.05},
        "cifar10-lt": {"threshold": 0.05},
        "imagenet-lt": {"threshold": 4.3e-4},
    },
    imbalances={"cifar100-lt": {50: {"threshold": 0.006}, 100: {"threshold": 0.005}}},
    remark=idle,
    variants={"eql": {}},
    sources={
        "gamma threshold": "the code of CDB-loss and of Difficulty-Net",
        "cifar100-lt.threshold": "a public toolbox at imbalance 50 and 100; Difficulty-Net's code has 0.005 "
        "at every imbalance",
        "cifar10-lt.threshold": "a public toolbox at imbalance 50 and 100",
        "draw": "a public toolbox; Difficulty-Net's code draws once a batch",
        "digits-lt.threshold": "our choice, because there are ten classes, as in CIFAR-10-LT",
        "imagenet-lt.threshold": "Tan et al., CVPR 2020, to our knowledge; no code to check it against",
    },
)
