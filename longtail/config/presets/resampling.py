"""Class-balanced and square-root sampling (Kang et al., ICLR 2020)."""

from typing import Literal

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of resampling."""

    sampling: Literal["class_balanced", "square_root"] = "class_balanced"
    """How likely a class is to be drawn: all alike, or in proportion to the root of its training count."""


PRESET = Preset(
    name="resampling",
    stage="represent",
    summary="cross-entropy on batches in which small classes come more often than in the data",
    settings=Settings,
    variants={
        "class_balanced_sampling": {"sampling": "class_balanced"},
        "square_root_sampling": {"sampling": "square_root"},
    },
    sources={"sampling": "Kang et al., Sec. 3; each variant has its own"},
)
