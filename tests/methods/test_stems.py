"""A method is four files of one stem: code, documentation, preset, test."""

import importlib

from longtail.config.presets import METHODS, VARIANTS
from longtail.config.presets.preset import Preset
from longtail.methods import find_method
from tests.support.stage_runs import ROOT


def stems(folder: str, pattern: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob(pattern)} - {"__init__"}


def preset_modules() -> dict[str, Preset]:
    names = stems("longtail/config/presets", "*.py") - {"preset"}
    return {name: importlib.import_module(f"longtail.config.presets.{name}").PRESET for name in names}


def test_code_documentation_presets_and_tests_have_the_same_stems() -> None:
    methods = stems("longtail/methods", "*.py")
    assert len(methods) >= 6
    assert set(preset_modules()) == methods
    assert stems("docs/methods", "*.md") == methods
    tests = {stem.removeprefix("test_") for stem in stems("tests/methods", "test_*.py")}
    assert tests - {"stems"} == methods


def test_every_preset_is_listed_under_its_stem_and_has_a_class() -> None:
    presets = preset_modules()
    assert dict(METHODS) == presets
    assert {name: preset.name for name, preset in presets.items()} == {name: name for name in presets}
    for name in METHODS:
        assert find_method(name).__module__ == f"longtail.methods.{name}"


def test_every_variant_is_of_one_preset_and_its_settings_are_valid() -> None:
    names = [variant for preset in METHODS.values() for variant in preset.variants]
    assert sorted(names) == sorted(VARIANTS)  # none twice
    for variant, preset in VARIANTS.items():
        settings = preset.resolve(variant, "digits-lt", 50, {}, 0.3)
        assert {key: settings[key] for key in preset.variants[variant]} == dict(preset.variants[variant])


def test_every_page_says_what_public_code_it_was_checked_against() -> None:
    pages = [ROOT / "docs" / "methods" / f"{name}.md" for name in METHODS]
    assert [page.name for page in pages if "\n**Checked against** " not in page.read_text("utf-8")] == []
