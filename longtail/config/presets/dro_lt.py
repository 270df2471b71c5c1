"""DRO-LT, the distributional robustness loss (Samuel & Chechik, ICCV 2021)."""

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


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
    # features of the small network, trained from scratch at twenty times the learning rate, are far apart:
    # at T = 0.07 the robust loss is all there is (T by accuracy on the meta set)
    benchmarks={"digits-lt": {"temperature": 5.0}},
    variants={"dro_lt": {}},
)
