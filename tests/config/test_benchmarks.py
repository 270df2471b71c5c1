"""Benchmarks: numbers that follow from others do, and those of the paper are the paper's."""

import math

import pytest
import torch

from longtail.config.benchmarks import (
    BENCHMARKS,
    CIFAR10_LT,
    CIFAR100_LT,
    DIGITS_LT,
    IMAGENET_LT,
    PLACES_LT,
    Benchmark,
    find_benchmark,
)
from longtail.config.training import Cosine, Steps
from longtail.data.sources import SOURCES
from longtail.data.sources.cifar import CIFAR10, CIFAR100, Cifar
from longtail.errors import InputError
from longtail.networks import NETWORKS
from longtail.training.augment.batch import AUGMENTS
from longtail.training.from_files import photographs
from longtail.training.samplers import build_sampler

CIFAR = [(CIFAR100_LT, CIFAR100), (CIFAR10_LT, CIFAR10)]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_what_a_benchmark_names_exists(benchmark: Benchmark) -> None:
    assert Benchmark.model_validate(benchmark.model_dump()) == benchmark
    assert find_benchmark(benchmark.name) is benchmark
    assert benchmark.source in {*SOURCES, "own", "listed"}
    assert set(benchmark.networks) <= set(NETWORKS)
    for training in (benchmark.represent, benchmark.retrain):
        views = photographs.VIEWS if benchmark.source == "listed" else AUGMENTS
        assert {training.augment, training.second_augment} <= set(views)
    assert len(benchmark.mean) == len(benchmark.std) == benchmark.image_shape[2]


def test_an_unknown_benchmark_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        InputError,
        match=r"benchmark .cifar.: not known; valid: digits-lt, cifar100-lt, cifar10-lt, imagenet-lt, .*own",
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
    assert DIGITS_LT.with_meta_per_class(4).n_max == 120
    lists = IMAGENET_LT.with_meta_per_class(4)
    assert (lists.meta_per_class, lists.n_max) == (4, None)


def test_a_meta_set_of_everything_is_refused() -> None:
    assert CIFAR100_LT.with_meta_per_class(499).n_max == 1
    with pytest.raises(
        InputError, match=r"meta_per_class 500: cifar100-lt has 500 images a class .*; give less"
    ):
        CIFAR100_LT.with_meta_per_class(500)


@pytest.mark.parametrize(("benchmark", "epochs", "retraining"), [(IMAGENET_LT, 180, 10), (PLACES_LT, 30, 20)])
def test_trainings_on_lists_are_as_many_epochs_long_as_the_authors(
    benchmark: Benchmark, epochs: int, retraining: int
) -> None:
    assert benchmark.totals is not None
    batches = math.ceil(benchmark.totals.train / benchmark.represent.batch_size)
    assert benchmark.represent.iterations == epochs * batches
    short = math.ceil(benchmark.totals.train / benchmark.retrain.batch_size) + 1
    assert benchmark.retrain.iterations == retraining * short
    labels = torch.arange(benchmark.totals.train) % benchmark.totals.classes
    sampler = build_sampler(benchmark.retrain.sampler, labels, benchmark.retrain.batch_size, seed=0)
    assert sampler.batches_per_epoch == short
    assert len(sampler.batch(short - 1)) == benchmark.retrain.batch_size
    if isinstance(benchmark.represent.schedule, Steps):
        assert benchmark.represent.schedule.milestones == (9 * batches, 19 * batches)


def test_lists_have_one_imbalance() -> None:
    IMAGENET_LT.check_imbalance(256)
    PLACES_LT.check_imbalance(996)
    CIFAR100_LT.check_imbalance(3)
    with pytest.raises(InputError, match=r"imbalance 100: .* Places-LT have 996; write `places-lt: \[996\]`"):
        PLACES_LT.check_imbalance(100)


def test_the_settings_on_lists_are_the_authors() -> None:
    for training, decay, schedule, nesterov in (
        (IMAGENET_LT.represent, 5e-4, Cosine(peak=0.05), True),
        (IMAGENET_LT.retrain, 2e-4, Cosine(peak=0.05), False),
        (PLACES_LT.represent, 5e-4, None, False),
        (PLACES_LT.retrain, 5e-4, Cosine(peak=0.1), False),
    ):
        assert (training.weight_decay, training.nesterov, training.momentum) == (decay, nesterov, 0.9)
        assert training.schedule == schedule or schedule is None
    schedule = PLACES_LT.represent.schedule
    assert isinstance(schedule, Steps)
    rates = [schedule.peak * PLACES_LT.represent.backbone_rate, schedule.peak]
    assert rates == pytest.approx([0.001, 0.01])
