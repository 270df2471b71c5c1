"""Cross-entropy: no settings. Not a row of the paper's Table 1, but the control that it lacks."""

from longtail.config.presets.preset import Preset

PRESET = Preset(
    name="cross_entropy", stage="represent", summary="plain cross-entropy", variants={"cross_entropy": {}}
)
