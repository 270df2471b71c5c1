"""Learnable weight scaling, LWS (Kang et al., ICLR 2020)."""

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset

PRESET = Preset(
    name="lws",
    stage="retrain",
    summary="one learned scale a class on the frozen classifier's logits, class-aware sampling",
    settings=HeadSettings,
    variants={"lws": {}},
    sources=HEAD_SOURCES,
)
