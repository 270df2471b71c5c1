"""Benchmarks: numbers that follow from others do, and those of the paper are the paper's."""

from __future__ import annotations

import math

import pytest

from longtail.augment import AUGMENTS
from longtail.benchmarks import (
    BENCHMARKS,
    CIFAR10_LT,
    CIFAR100_LT,
    DIGITS_LT,
    Benchmark,
    Steps,
    find_benchmark,
)
from longtail.errors import InputError
from longtail.networks import NETWORKS
from longtail.sources import SOURCES
from longtail.sources.cifar import CIFAR10, CIFAR100, Cifar

CIFAR = [(CIFAR100_LT, CIFAR100), (CIFAR10_LT, CIFAR10)]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_what_a_benchmark_names_exists(benchmark: Benchmark) -> None:
    assert Benchmark.model_validate(benchmark.model_dump()) == benchmark
    assert find_benchmark(benchmark.name) is benchmark
    assert benchmark.source in {*SOURCES, "own"}
    assert benchmark.network in NETWORKS
    for training in (benchmark.represent, benchmark.retrain):
        assert {training.augment, training.second_augment} <= set(AUGMENTS)
    assert len(benchmark.mean) == len(benchmark.std) == benchmark.image_shape[2]


def test_an_unknown_benchmark_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        InputError, match="benchmark 'cifar': not known; valid: digits-lt, cifar100-lt, cifar10-lt, own"
    ):
        find_benchmark("cifar")


@pytest.mark.parametrize(("benchmark", "source"), CIFAR)
def test_a_cifar_class_is_parted_in_meta_set_and_tail(benchmark: Benchmark, source: Cifar) -> None:
    assert benchmark.n_max is not None
    assert benchmark.n_max + benchmark.meta_per_class == source.per_class["train"]
    assert benchmark.classes == len(source.class_names)


@pytest.mark.parametrize(("benchmark", "source"), CIFAR)
def test_heads_are_trained_for_fifty_passes_of_the_class_aware_sampler(
    benchmark: Benchmark, source: Cifar
) -> None:
    assert benchmark.n_max is not None
    assert benchmark.classes is not None
    batches = math.ceil(benchmark.classes * benchmark.n_max / benchmark.retrain.batch_size)
    assert benchmark.retrain.iterations == 50 * batches


def test_the_schedule_of_cifar100_lt_is_the_papers() -> None:
    training = CIFAR100_LT.represent
    assert training.schedule == Steps(start=0.1, peak=0.2, warmup=400, milestones=(6400, 9600), factor=0.1)
    assert (training.iterations, training.batch_size, training.meta_batch_size) == (12800, 128, 100)
    assert (training.momentum, training.weight_decay, training.nesterov) == (0.9, 1e-4, False)


def test_a_smaller_meta_set_leaves_more_to_train_on() -> None:
    changed = CIFAR100_LT.with_meta_per_class(10)
    assert (changed.meta_per_class, changed.n_max) == (10, 490)
    assert changed.model_copy(update={"meta_per_class": 25, "n_max": 475}) == CIFAR100_LT
    assert CIFAR100_LT.with_meta_per_class(None) is CIFAR100_LT
    digits = DIGITS_LT.with_meta_per_class(4)
    assert (digits.meta_per_class, digits.n_max) == (4, None)


def test_a_meta_set_of_everything_is_refused() -> None:
    assert CIFAR100_LT.with_meta_per_class(499).n_max == 1
    with pytest.raises(
        InputError, match=r"meta_per_class 500: cifar100-lt has 500 images a class .*; give less"
    ):
        CIFAR100_LT.with_meta_per_class(500)
