"""The settings of every method; importing this costs no torch."""

from importlib import import_module
from pkgutil import iter_modules

from longtail.config.presets.preset import Preset

_PRESETS: list[Preset] = [
    import_module(f"{__name__}.{module.name}").PRESET
    for module in iter_modules(__path__)
    if module.name != "preset"
]

METHODS: dict[str, Preset] = {
    preset.name: preset for stage in ("represent", "retrain") for preset in _PRESETS if preset.stage == stage
}
"""Every method by name: those that train networks, then those that retrain classifiers, each by alphabet."""

VARIANTS: dict[str, Preset] = {variant: preset for preset in METHODS.values() for variant in preset.variants}
"""The preset behind every variant."""
