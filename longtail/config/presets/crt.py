"""Classifier re-training, cRT (Kang et al., ICLR 2020)."""

from typing import Literal

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset


class Settings(HeadSettings):
    """Settings of cRT."""

    classifier: Literal["fresh", "copied"] = "fresh"
    """fresh: re-initialised, as published. copied: starts from stage 1's, as in the authors' code."""


PRESET = Preset(
    name="crt",
    stage="retrain",
    summary="a new linear classifier on frozen features, class-aware sampling",
    settings=Settings,
    variants={"crt": {}},
    sources={**HEAD_SOURCES, "classifier": "Kang et al., ICLR 2020; copied in Difficulty-Net's code"},
)
