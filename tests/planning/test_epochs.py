"""How long networks are trained, and with what batches."""

import json
from typing import Any

import pytest
import torch

from longtail.config.benchmarks import (
    BENCHMARKS,
    CIFAR10_LT,
    CIFAR100_LT,
    DIGITS_LT,
    IMAGENET_LT,
    OWN,
    PLACES_LT,
    Benchmark,
)
from longtail.config.params import Params
from longtail.config.training import Steps, Training
from longtail.errors import InputError
from longtail.planning.epochs import network_training, training_images
from longtail.planning.planner import plan_bundles, plan_tables
from longtail.planning.plans import TablesPlan
from longtail.training.samplers import ShuffledSampler
from longtail.training.schedules import learning_rate


def params_of(benchmark: Benchmark = CIFAR100_LT, imbalance: float = 100, **schedule: Any) -> Params:
    """Parameters with this `schedule`."""
    meta = schedule.pop("meta_per_class", None)
    return Params.model_validate(
        {
            "lambda": 0.3,
            "imbalances": {benchmark.name: [imbalance]},
            "seeds": [1],
            "schedule": schedule,
            "meta_per_class": meta,
        }
    )


def training(benchmark: Benchmark = CIFAR100_LT, imbalance: float = 100, **schedule: Any) -> Training:
    return network_training(benchmark, imbalance, params_of(benchmark, imbalance, **schedule))


def steps(found: Training) -> tuple[int, int, tuple[int, ...]]:
    """Iterations, warm-up and milestones."""
    assert isinstance(found.schedule, Steps)
    return found.iterations, found.schedule.warmup, found.schedule.milestones


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_without_a_change_the_training_is_the_benchmarks(benchmark: Benchmark) -> None:
    imbalance = benchmark.totals.imbalance if benchmark.totals else 10
    assert training(benchmark, imbalance) == benchmark.represent


# docs/data.md has the same numbers, from the manifests
@pytest.mark.parametrize(
    ("benchmark", "imbalance", "images"),
    [
        (CIFAR100_LT, 200, 9_022),
        (CIFAR100_LT, 100, 10_302),
        (CIFAR100_LT, 10, 18_591),
        (CIFAR10_LT, 100, 12_341),
        (DIGITS_LT, 50, 314),
        (DIGITS_LT, 10, 461),
        (IMAGENET_LT, 256, 115_846),
        (PLACES_LT, 996, 62_500),
        (OWN, 1, None),
    ],
)
def test_the_training_images_are_those_that_a_manifest_will_have(
    benchmark: Benchmark, imbalance: float, images: int | None
) -> None:
    assert training_images(benchmark, imbalance) == images


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"length": 25_600}, (25_600, 800, (12_800, 19_200))),
        ({"length": 1}, (1, 0, (0, 1))),
        ({"length": 6_400, "fraction": 0.5}, (3_200, 100, (1_600, 2_400))),
        # 10,302 images are 81 batches of 128 and 21 of 512
        ({"unit": "epochs"}, (12_800 * 81, 400 * 81, (6_400 * 81, 9_600 * 81))),
        ({"unit": "epochs", "batch_size": 512}, (12_800 * 21, 400 * 21, (6_400 * 21, 9_600 * 21))),
        ({"unit": "epochs", "length": 160}, (160 * 81, 5 * 81, (80 * 81, 120 * 81))),
        ({"unit": "epochs", "length": 160, "fraction": 0.1}, (16 * 81, 40, (8 * 81, 12 * 81))),
        ({"batch_size": 512}, (12_800, 400, (6_400, 9_600))),
    ],
    ids=str,
)
def test_lengths_move_in_proportion(schedule: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = training(**schedule)
    assert steps(found) == expected
    assert found.batch_size == schedule.get("batch_size", 128)
    same = {"iterations": found.iterations, "schedule": found.schedule, "batch_size": found.batch_size}
    assert CIFAR100_LT.represent.model_copy(update=same) == found


def test_an_epoch_is_a_pass_of_the_shuffled_sampler() -> None:
    found = training(unit="epochs", length=3, batch_size=100)
    batches = ShuffledSampler(10_302, 100, seed=1).batches_per_epoch
    assert found.iterations == 3 * batches == 3 * 104


def test_an_epoch_follows_the_imbalance_and_the_meta_set() -> None:
    assert training(imbalance=10, unit="epochs", length=1).iterations == 146  # 18,591 images
    more = network_training(
        CIFAR100_LT, 10, params_of(imbalance=10, unit="epochs", length=1, meta_per_class=10)
    )
    assert more.iterations == 150  # 19,182
    assert training(IMAGENET_LT, 256, unit="epochs", length=180) == IMAGENET_LT.represent
    assert training(PLACES_LT, 996, unit="epochs", length=30).iterations == PLACES_LT.represent.iterations


def test_the_learning_rate_is_that_of_the_same_share_of_the_training() -> None:
    own, longer = CIFAR100_LT.represent, training(length=25_600)
    for iteration in (0, 100, 399, 400, 6_399, 6_400, 9_600, 12_799):
        assert learning_rate(longer, 2 * iteration, 81) == learning_rate(own, iteration, 81)
    assert learning_rate(longer, 6_400, 81) != learning_rate(own, 6_400, 81)


@pytest.mark.parametrize(
    ("benchmark", "imbalance", "schedule", "expected"),
    [
        (
            DIGITS_LT,
            50,
            {"batch_size": 315},
            "params.yaml: schedule.batch_size: found 315; digits-lt at imbalance 50 has 314 training images, "
            "give at most as many",
        ),
        (
            OWN,
            1,
            {"unit": "epochs"},
            "params.yaml: schedule.unit: found epochs; the number of training images of own is not known "
            "before they are read, write `unit: iterations` and a `length` in iterations",
        ),
        (
            IMAGENET_LT,
            256,
            {"unit": "epochs"},
            "params.yaml: schedule.length: 163080 epochs of 906 iterations (imagenet-lt at imbalance 256) "
            "are more than 100,000,000 iterations; give fewer epochs",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    benchmark: Benchmark, imbalance: float, schedule: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan_bundles(benchmark, params_of(benchmark, imbalance, **schedule))
    assert str(caught.value) == expected


def test_a_batch_of_all_images_is_allowed() -> None:
    assert training(DIGITS_LT, 50, batch_size=314, unit="epochs", length=7).iterations == 7


def test_own_images_take_a_length_and_a_batch_size() -> None:
    found = training(OWN, 1, length=500, batch_size=16)
    assert (found.iterations, found.batch_size) == (500, 16)


@pytest.mark.parametrize(
    "schedule", [{"length": 300}, {"unit": "epochs"}, {"batch_size": 32}], ids=lambda change: str(change)
)
def test_heads_keep_their_length_and_batches(schedule: dict[str, Any]) -> None:
    before = plan_bundles(DIGITS_LT, params_of(DIGITS_LT, 50))
    after = plan_bundles(DIGITS_LT, params_of(DIGITS_LT, 50, **schedule))
    assert [plan.heads for plan in before] == [plan.heads for plan in after]
    assert all(one.training != other.training for one, other in zip(before, after, strict=True))


def tables_plan(**schedule: Any) -> TablesPlan:
    params = params_of(DIGITS_LT, 50, **schedule)
    return plan_tables(DIGITS_LT, params, plan_bundles(DIGITS_LT, params))


@pytest.mark.parametrize(
    ("schedule", "words", "shortened"),
    [
        ({}, "", False),
        ({"length": 150, "batch_size": 64}, "", False),
        ({"length": 300}, ", networks trained for 300 iterations", False),
        ({"length": 149}, ", networks trained for 149 iterations", True),
        ({"batch_size": 32}, ", networks trained in batches of 32", False),
        ({"unit": "epochs"}, ", networks trained for 150 epochs", False),
        # 314 images are 5 batches of 64
        ({"unit": "epochs", "length": 29}, ", networks trained for 29 epochs", True),
        ({"unit": "epochs", "length": 30}, ", networks trained for 30 epochs", False),
        (
            {"unit": "epochs", "length": 60, "batch_size": 32},
            ", networks trained for 60 epochs in batches of 32",
            False,
        ),
        ({"fraction": 0.5}, "", True),
        ({"fraction": 0.5, "length": 300}, ", networks trained for 300 iterations", True),
    ],
    ids=str,
)
def test_tables_are_told_what_is_not_the_benchmarks_own(
    schedule: dict[str, Any], words: str, shortened: bool
) -> None:
    plan = tables_plan(**schedule)
    assert (plan.networks_trained, plan.shortened) == (words, shortened)
    assert TablesPlan.model_validate_json(plan.model_dump_json()) == plan


def test_plans_of_tables_from_before_these_parameters_can_be_read() -> None:
    found = json.loads(tables_plan().model_dump_json())
    for name in ("length", "unit", "batch_size", "full_length"):
        del found[name]
    assert TablesPlan.model_validate(found) == tables_plan()


def test_the_sampler_gives_batches_of_the_size_that_was_asked_for() -> None:
    size = training(DIGITS_LT, 50, batch_size=100).batch_size
    sampler = ShuffledSampler(314, size, seed=1)
    batches = [sampler.batch(i) for i in range(sampler.batches_per_epoch)]
    assert [len(batch) for batch in batches] == [100, 100, 100, 14]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(314))
