"""Mixup (Zhang et al., ICLR 2018), stage 1 of MiSLAS (Zhong et al., CVPR 2021)."""

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of mixup."""

    alpha: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Of Beta(alpha, alpha); 0 is plain cross-entropy. MiSLAS: 1 on CIFAR, 0.2 on ImageNet and Places."""


PRESET = Preset(
    name="mixup",
    stage="represent",
    summary="cross-entropy on blends of two images, with the labels of both",
    settings=Settings,
    benchmarks={name: {"alpha": 0.2} for name in ("digits-lt", "imagenet-lt", "places-lt")},
    variants={"mixup": {}},
    sources={
        "alpha": "MiSLAS's code for CIFAR",
        "digits-lt.alpha": "our choice, because 150 iterations are short for strong blends; better than 1 on "
        "the meta set",
        "imagenet-lt.alpha places-lt.alpha": "MiSLAS's code for ImageNet-LT and Places-LT",
    },
)
