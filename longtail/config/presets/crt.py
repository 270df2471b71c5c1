"""Classifier re-training, cRT (Kang et al., ICLR 2020)."""

from typing import Literal

from longtail.config.presets.preset import BATCH_NORM, TRAINED_HEAD_SOURCES, Preset, TrainedHeadSettings


class Settings(TrainedHeadSettings):
    """Settings of cRT."""

    classifier: Literal["fresh", "copied"] = "fresh"
    """fresh: re-initialised, as published. copied: starts from stage 1's, as in the authors' code."""


PRESET = Preset(
    name="crt",
    stage="retrain",
    summary="a new linear classifier on frozen features, class-aware sampling",
    settings=Settings,
    benchmarks={"imagenet-lt": BATCH_NORM, "places-lt": BATCH_NORM},
    variants={"crt": {}},
    sources={**TRAINED_HEAD_SOURCES, "classifier": "Kang et al., ICLR 2020; copied in Difficulty-Net's code"},
)
