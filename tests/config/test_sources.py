"""Where values come from: every default of every method on every benchmark has a source beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from longtail.config.benchmarks import (
    BENCHMARKS,
    CIFAR10_LT,
    CIFAR100_LT,
    IMAGENET_LT,
    OWN,
    PLACES_LT,
    Benchmark,
)
from longtail.config.presets import METHODS
from longtail.config.presets.preset import Preset
from longtail.config.records import source_of
from longtail.config.training import Training

STAGES = ("represent", "retrain")


def settings_of(preset: Preset) -> list[str]:
    return [info.alias or name for name, info in preset.settings.model_fields.items()]


def without_source(preset: Preset) -> Iterator[str]:
    """Values that `preset` gives and says nothing about."""
    for benchmark in BENCHMARKS:
        yield from (
            f"{benchmark} {name}" for name in settings_of(preset) if not preset.provenance(benchmark, name)
        )
    for benchmark, own in preset.benchmark_training.items():
        yield from (name for name in own if not source_of({f"{benchmark}.training.{name}"}, preset.sources))
    yield from (
        name for name in preset.training if not preset.provenance("every benchmark", f"training.{name}")
    )


def values(benchmark: Benchmark) -> dict[str, Any]:
    """Every setting of a benchmark and of its trainings."""
    told = {"name", "source", "sources", *STAGES}
    own = {name: getattr(benchmark, name) for name in Benchmark.model_fields if name not in told}
    trainings = {
        f"{stage}.{name}": getattr(getattr(benchmark, stage), name)
        for stage in STAGES
        for name in Training.model_fields
    }
    return {**own, **trainings}


@pytest.mark.parametrize("preset", METHODS.values(), ids=list(METHODS))
def test_every_default_of_a_method_has_a_source_on_every_benchmark(preset: Preset) -> None:
    assert list(without_source(preset)) == []


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_every_setting_of_a_benchmark_has_a_source(benchmark: Benchmark) -> None:
    assert [name for name in values(benchmark) if not benchmark.provenance(name)] == []


def test_a_default_without_a_source_is_found() -> None:
    lade = METHODS["lade"]
    untold = {names: text for names, text in lade.sources.items() if names != "alpha kappa"}
    found = list(without_source(replace(lade, sources=untold)))
    assert found == [
        f"{name} {key}" for name in BENCHMARKS if name not in lade.benchmarks for key in lade.keys
    ]
    overridden = replace(lade, benchmarks={**lade.benchmarks, "own": {"alpha": 1.0}})
    assert list(without_source(overridden)) == ["own alpha"]  # not that of the default
    assert list(without_source(replace(lade, training={"sampler": "shuffled"}))) == ["sampler"]
    less = CIFAR100_LT.model_copy(update={"sources": {"momentum": "somewhere"}})
    assert [name for name in values(less) if less.provenance(name)] == [
        "represent.momentum",
        "retrain.momentum",
    ]


@pytest.mark.parametrize(
    ("child", "parent"), [(CIFAR10_LT, CIFAR100_LT), (OWN, CIFAR100_LT), (PLACES_LT, IMAGENET_LT)]
)
def test_another_value_has_another_source(child: Benchmark, parent: Benchmark) -> None:
    changed = [name for name, value in values(child).items() if value != values(parent)[name]]
    assert changed
    assert [name for name in changed if child.provenance(name) == parent.provenance(name)] == []


def test_a_source_is_of_a_setting_that_exists() -> None:
    for preset in METHODS.values():
        known = {*settings_of(preset), *(f"training.{name}" for name in preset.training)}
        known |= {f"{benchmark}.{name}" for benchmark in BENCHMARKS for name in preset.overridden(benchmark)}
        trainings = preset.benchmark_training.items()
        known |= {f"{benchmark}.training.{name}" for benchmark, own in trainings for name in own}
        assert {name for names in preset.sources for name in names.split()} <= known, preset.name
    for benchmark in BENCHMARKS.values():
        known = {*values(benchmark), *Training.model_fields}
        assert {name for names in benchmark.sources for name in names.split()} <= known, benchmark.name


def test_our_own_choices_have_a_reason() -> None:
    every = [*METHODS.values(), *BENCHMARKS.values()]
    texts = [text for one in every for text in one.sources.values() if text.startswith("our choice")]
    assert len(texts) > 20
    assert [text for text in texts if not text.startswith(("our choice, because ", "our choice: "))] == []
