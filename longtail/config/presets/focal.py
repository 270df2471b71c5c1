"""Focal loss (Lin et al., ICCV 2017)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of the focal loss; gamma and form are those of Difficulty-Net's authors on CIFAR-100-LT."""

    gamma: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Exponent of the factor; 0 is cross-entropy. Cui et al. searched 0.5, 1 and 2."""
    form: Literal["softmax", "sigmoid"] = "softmax"
    """softmax: one loss an image. sigmoid: a sum over classes, as Cui et al. have it."""
    factor_gradient: bool = True
    """Whether the factor takes part in the gradient, as published; false: Difficulty-Net's code."""


PRESET = Preset(
    name="focal",
    stage="represent",
    summary="cross-entropy with a factor that fades where the network is right",
    settings=Settings,
    variants={"focal": {}},
    sources={
        "gamma": "Difficulty-Net's code and LDAM's; Cui et al. searched 0.5, 1 and 2",
        "form": "Difficulty-Net's code, CIFAR-LT/losses/focal_loss.py; sigmoid in its ImageNet code",
        "factor_gradient": "Lin et al., Eq. 4; no gradient in Difficulty-Net's code",
    },
)
