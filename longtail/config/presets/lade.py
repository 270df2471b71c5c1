"""LADE (Hong et al., CVPR 2021)."""

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of LADE; defaults are those of its release for CIFAR-100-LT at imbalance 100."""

    alpha: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Weight of the regulariser R; 0 is Balanced Softmax. ImageNet-LT 0.05, Places-LT 0.005."""
    kappa: float = Field(0.01, ge=0, allow_inf_nan=False)
    """Weight of the squared log mean in R. ImageNet-LT 0.5, Places-LT 0.1."""


PRESET = Preset(
    name="lade",
    stage="represent",
    summary="Balanced Softmax with a regulariser that ties each logit to a density ratio",
    settings=Settings,
    benchmarks={"imagenet-lt": {"alpha": 0.05, "kappa": 0.5}, "places-lt": {"alpha": 0.005, "kappa": 0.1}},
    variants={"lade": {}},
    sources={
        "alpha kappa": "the authors' code, CIFAR-100-LT at imbalance 100",
        "imagenet-lt.alpha imagenet-lt.kappa": "the authors' code, ImageNet-LT",
        "places-lt.alpha places-lt.kappa": "the authors' code, Places-LT",
    },
)
