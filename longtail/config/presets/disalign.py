"""DisAlign (Zhang et al., CVPR 2021)."""

from typing import Literal

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of DisAlign."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set (authors' code), or the last."""
    rho: float = Field(1.2, ge=0, allow_inf_nan=False)
    """Class weights are proportional to pi_c^(-rho); 1.2 is the published value on ImageNet-LT."""


PRESET = Preset(
    name="disalign",
    stage="retrain",
    summary="the frozen classifier's logits under a learned calibration, re-weighted cross-entropy",
    settings=Settings,
    variants={"disalign": {}},
    training={"sampler": "shuffled"},
)
