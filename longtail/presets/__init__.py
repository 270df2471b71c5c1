"""The settings of every method; importing this costs no torch."""

from __future__ import annotations

from longtail.presets import balanced_softmax, cross_entropy, crt, difficulty_net, las, lws
from longtail.presets.preset import Preset

METHODS: dict[str, Preset] = {
    module.PRESET.name: module.PRESET
    for module in (cross_entropy, balanced_softmax, difficulty_net, crt, lws, las)
}
"""Every method by name, end-to-end methods first, in the order in which help lists them."""

VARIANTS: dict[str, Preset] = {variant: preset for preset in METHODS.values() for variant in preset.variants}
"""The preset behind every variant."""
