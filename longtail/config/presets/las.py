"""Label-aware smoothing, LAS (Zhong et al., CVPR 2021)."""

from typing import Literal

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of LAS."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set (authors' code), or the last."""
    smoothing_head: float | None = Field(None, ge=0, lt=1)
    """epsilon of the largest class; None: the authors' table by imbalance."""
    smoothing_tail: float | None = Field(None, ge=0, lt=1)
    """epsilon of the smallest class; None: the authors' table by imbalance."""


PRESET = Preset(
    name="las",
    stage="retrain",
    summary="classifier and scales on frozen features with label smoothing that grows with the class",
    settings=Settings,
    benchmarks={
        "imagenet-lt": {"smoothing_head": 0.3, "smoothing_tail": 0.0},
        "places-lt": {"smoothing_head": 0.4, "smoothing_tail": 0.1},
    },
    variants={"las": {}},
)
