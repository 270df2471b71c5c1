"""Classifier re-training, cRT (Kang et al., ICLR 2020)."""

from typing import Literal

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of cRT."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set (authors' code), or the last."""
    classifier: Literal["fresh", "copied"] = "fresh"
    """fresh: re-initialised, as published. copied: starts from stage 1's, as in the authors' code."""


PRESET = Preset(
    name="crt",
    stage="retrain",
    summary="a new linear classifier on frozen features, class-aware sampling",
    settings=Settings,
    variants={"crt": {}},
)
