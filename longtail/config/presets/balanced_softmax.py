"""Balanced Softmax (Ren et al., NeurIPS 2020): no settings."""

from longtail.config.presets.preset import Preset

PRESET = Preset(
    name="balanced_softmax",
    stage="represent",
    summary="cross-entropy with the log of the training counts added to the logits",
    variants={"balanced_softmax": {}},
)
