"""Learnable weight scaling, LWS (Kang et al., ICLR 2020)."""

from longtail.config.presets.preset import BATCH_NORM, TRAINED_HEAD_SOURCES, Preset, TrainedHeadSettings

PRESET = Preset(
    name="lws",
    stage="retrain",
    summary="one learned scale a class on the frozen classifier's logits, class-aware sampling",
    settings=TrainedHeadSettings,
    benchmarks={"imagenet-lt": BATCH_NORM, "places-lt": BATCH_NORM},
    variants={"lws": {}},
    sources=TRAINED_HEAD_SOURCES,
)
