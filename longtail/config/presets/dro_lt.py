"""DRO-LT, the distributional robustness loss (Samuel & Chechik, ICCV 2021)."""

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of DRO-LT; defaults are those of CIFAR-100-LT in the released code."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Of the robust loss beside cross-entropy; the released code adds the two."""
    temperature: float = Field(0.07, gt=0, allow_inf_nan=False)
    """T, by which distances between features and centroids are divided."""


PRESET = Preset(
    name="dro_lt",
    stage="represent",
    summary="cross-entropy, and features near their class's centroid by a robust loss",
    settings=Settings,
    benchmarks={"digits-lt": {"temperature": 5.0}},
    variants={"dro_lt": {}},
    sources={
        "weight": "the released code, which adds the two losses",
        "temperature": "the argument's default in the released code; its README trains with 1",
        "digits-lt.temperature": "our choice, because the features of the small network are far apart; the "
        "best on the meta set",
    },
)
