"""PaCo, parametric contrastive learning (Cui et al., ICCV 2021), with and without Balanced Softmax."""

from pydantic import Field

from longtail.config.presets.preset import Passes, Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of PaCo; defaults are those of CIFAR-100-LT in the released code."""

    balanced: bool = False
    """Adds log pi_c to the centres' logits in training; the row "PaCo + Bal. Softmax"."""
    alpha: float = Field(0.01, ge=0, allow_inf_nan=False)
    """Weight of an image of the anchor's class, where that of the own centre is 1."""
    temperature: float = Field(0.05, gt=0, allow_inf_nan=False)
    """T, by which similarities (not the centres' logits) are divided."""
    queue: int = Field(1024, ge=1, le=10**7)
    """K, the number of keys that are kept."""
    dim: int = Field(32, ge=1, le=65536)
    """D, of the projection's output."""
    momentum: float = Field(0.999, ge=0, lt=1)
    """Of the momentum encoder: how much of it stays at a step."""


PRESET = Preset(
    name="paco",
    stage="represent",
    summary="contrast of two views in which learnable class centres take part",
    settings=Settings,
    passes=lambda settings: Passes(4),  # the second view goes through the momentum encoder
    benchmarks={
        "digits-lt": {"alpha": 0.02, "temperature": 0.2, "queue": 128, "momentum": 0.9},
        "imagenet-lt": {"alpha": 0.05, "temperature": 0.2, "queue": 8192, "dim": 128},
        "places-lt": {"alpha": 0.05, "temperature": 0.2, "queue": 8192, "dim": 128},
    },
    benchmark_training={"places-lt": {"augment": "photo_view"}},
    variants={"paco": {}, "paco_balanced_softmax": {"balanced": True}},
    sources={
        "balanced": "our reading of the paper's tables: the row without Bal. Softmax leaves the prior out",
        "alpha temperature queue dim momentum": "the authors' code, CIFAR-100-LT",
        "digits-lt.alpha digits-lt.temperature": "our choice, because at T = 0.05 few-shot classes are lost; "
        "the best on the meta set",
        "digits-lt.queue digits-lt.momentum": "our choice, because of 150 iterations and some 300 images: "
        "the encoder must follow, and a longer queue would hold whole epochs",
        "imagenet-lt.alpha imagenet-lt.temperature imagenet-lt.queue imagenet-lt.dim": "the authors' code, "
        "ImageNet-LT",
        "places-lt.alpha places-lt.temperature places-lt.queue places-lt.dim": "the authors' code, Places-LT",
        "places-lt.training.augment": "the authors' code, Places-LT: both views are made alike",
    },
)
