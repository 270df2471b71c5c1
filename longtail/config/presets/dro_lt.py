"""DRO-LT, the distributional robustness loss (Samuel & Chechik, ICCV 2021)."""

from pydantic import Field

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of DRO-LT; defaults are those of the command that the release gives for CIFAR-100-LT."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Of the robust loss beside cross-entropy; the released code adds the two."""
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    """T, by which distances between features and centroids are divided."""


PRESET = Preset(
    name="dro_lt",
    stage="represent",
    summary="cross-entropy, and features near their class's centroid by a robust loss",
    settings=Settings,
    variants={"dro_lt": {}},
    training={"sampler": "class_aware"},
    sources={
        "weight": "the authors' code, which adds the two losses",
        "temperature": "the command for CIFAR-100-LT that the authors' code gives; its default is 0.07",
        "training.sampler": "that command: class-aware, four images of a class",
    },
)
