"""Learnable weight scaling, LWS (Kang et al., ICLR 2020)."""

from typing import Literal

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of LWS."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set (authors' code), or the last."""


PRESET = Preset(
    name="lws",
    stage="retrain",
    summary="one learned scale a class on the frozen classifier's logits, class-aware sampling",
    settings=Settings,
    variants={"lws": {}},
)
