"""LDAM and LDAM-DRW (Cao et al., NeurIPS 2019)."""

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of LDAM; defaults are those of its release for CIFAR."""

    max_margin: float = Field(0.5, ge=0, allow_inf_nan=False)
    """Margin of the smallest class, in cosines."""
    scale: float = Field(30.0, gt=0, allow_inf_nan=False)
    """s, which multiplies the cosines."""
    drw: bool = False
    """Deferred re-weighting; plain LDAM is the first reading of Table 1's row."""
    drw_start: float = Field(0.8, ge=0, le=1)
    """Share of the training after which it begins: epoch 160 of 200 in the release."""
    drw_beta: float = Field(0.9999, ge=0, lt=1)
    """beta of the effective number of images, from which the weights follow."""


PRESET = Preset(
    name="ldam",
    stage="represent",
    summary="cross-entropy of cosines with margins that grow as classes get smaller",
    settings=Settings,
    benchmarks={"digits-lt": {"scale": 10.0}},
    variants={"ldam": {}, "ldam_drw": {"drw": True}},
    sources={
        "max_margin scale drw_beta": "the authors' code, CIFAR",
        "drw_start": "the authors' code: epoch 160 of 200",
        "drw": "our reading of Difficulty-Net's Table 1, which says LDAM; both are rows",
        "digits-lt.scale": "our choice, because at 30 the training images are not fitted in 150 iterations; "
        "the best of 5, 10, 16 and 30 on the meta set",
    },
)
