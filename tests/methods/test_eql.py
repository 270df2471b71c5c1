"""Equalization loss: the published formula for the same draws, and the draws themselves."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longtail.config.benchmarks import CIFAR10_LT, CIFAR100_LT, DIGITS_LT, Benchmark
from longtail.config.presets import METHODS
from longtail.config.presets.eql import idle
from longtail.config.training import Steps
from longtail.methods.eql import EQL
from longtail.planning.epochs import training_counts
from longtail.randomness import generator
from longtail.training.method import StepInfo, Task
from tests.support.losses import (
    CASES,
    CLASSES,
    COUNTS,
    EQUAL,
    MOMENT,
    check_gradient,
    found_losses,
    log_softmax,
)
from tests.support.small_training import make_trainer

DRAWS = ["element", "image", "batch"]
THRESHOLD = 0.05  # of 500, 120, 60, 20, 7, 1 images the last three classes have less
RARE = 3


def method_of(task: Task = COUNTS, **settings: object) -> EQL:
    return EQL({"threshold": THRESHOLD, **settings}, task)


def bernoulli(draw: str, batch: int, gamma: float, iteration: int = 0) -> NDArray[np.int64]:
    """b for every image and class, [B, C]: the draws of the method, made again."""
    rows = batch if draw != "batch" else 1
    columns = CLASSES if draw == "element" else 1
    draws = generator(COUNTS.seed, "equalization", iteration)
    uniform = torch.rand(rows, columns, generator=draws, dtype=torch.float64).numpy()
    return np.broadcast_to(uniform < gamma, (batch, CLASSES)).astype(np.int64)


def formula(name: str, b: NDArray[np.int64], threshold: float) -> list[float]:
    """-log( e^{z_y} / sum_k w_k e^{z_k} ), w_k = 1 - b 1[pi_k < threshold] (1 - y_k), image after image."""
    logits, labels = CASES[name]
    share = COUNTS.counts.numpy() / COUNTS.counts.sum().item()
    losses = []
    for i, y in enumerate(labels):
        w = [1 - b[i, k] * (share[k] < threshold) * (k != y) for k in range(CLASSES)]
        summed = [logits[i, k] for k in range(CLASSES) if w[k] == 1]
        largest = max(summed)
        losses.append(largest + math.log(sum(math.exp(z - largest) for z in summed)) - logits[i, y])
    return losses


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("gamma", [0.3, 0.9, 1.0])
def test_the_loss_is_that_of_the_paper_for_the_same_draws(gamma: float, draw: str, name: str) -> None:
    expected = formula(name, bernoulli(draw, len(CASES[name][1]), gamma), THRESHOLD)
    found = found_losses(method_of(gamma=gamma, draw=draw), name)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_formula_with_other_draws_would_be_noticed(draw: str) -> None:
    others = [other for other in DRAWS if other != draw]
    found = found_losses(method_of(gamma=0.5, draw=draw), "random logits")
    for other in others:
        expected = formula("random logits", bernoulli(other, 32, 0.5), THRESHOLD)
        assert np.abs(found - expected).max() > 1e-3


def test_by_default_classes_below_0_005_are_spared_with_probability_0_9() -> None:
    preset = METHODS["eql"]
    settings = preset.resolve("eql", "elsewhere", 50, {}, 0.3)
    assert settings == {"gamma": 0.9, "threshold": 0.005, "draw": "element"}
    assert preset.resolve("eql", "digits-lt", 50, {}, 0.3) == settings | {"threshold": 0.05}
    expected = formula("random logits", bernoulli("element", 32, 0.9), 0.005)
    found = found_losses(EQL(settings, COUNTS), "random logits")
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("benchmark", "imbalance", "threshold"),
    [
        ("cifar100-lt", 200, 0.005),
        ("cifar100-lt", 100, 0.005),
        ("cifar100-lt", 50, 0.006),
        ("cifar100-lt", 10, 0.005),
        ("cifar10-lt", 100, 0.05),
        ("cifar10-lt", 50, 0.05),
        ("imagenet-lt", 256, 4.3e-4),
    ],
)
def test_the_threshold_is_that_of_public_code_for_the_benchmark(
    benchmark: str, imbalance: float, threshold: float
) -> None:
    assert METHODS["eql"].resolve("eql", benchmark, imbalance, {}, 0.3)["threshold"] == threshold
    assert METHODS["eql"].resolve("eql", benchmark, imbalance, {"threshold": 0.1}, 0.3)["threshold"] == 0.1


@pytest.mark.parametrize("benchmark", [CIFAR100_LT, CIFAR10_LT, DIGITS_LT], ids=lambda known: known.name)
@pytest.mark.parametrize("imbalance", [100, 50, 10])
def test_on_the_benchmarks_some_classes_are_rare_and_some_are_not(
    benchmark: Benchmark, imbalance: float
) -> None:
    counts = training_counts(benchmark, imbalance)
    settings = METHODS["eql"].resolve("eql", benchmark.name, imbalance, {}, 0.3)
    assert counts is not None
    assert idle(settings, counts) is None
    rare = EQL(settings, Task(torch.tensor(counts), seed=1, imbalance=imbalance)).rare
    assert rare.any()
    assert not rare.all()


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (
            0.005,
            "threshold 0.005 makes no class rare (their shares of the training images: 0.01 to 0.9), so eql "
            "is plain cross-entropy",
        ),
        (0.01, "threshold 0.01 makes no class rare"),
        (0.02, None),
        (0.9, None),
        (0.95, "threshold 0.95 makes every class rare (their shares of the training images: 0.01 to 0.9)"),
    ],
)
def test_a_threshold_that_parts_no_classes_is_said(threshold: float, expected: str | None) -> None:
    counts = [900, 90, 10]
    found = idle({"threshold": threshold}, counts)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.startswith(expected)
        rare = EQL({"threshold": threshold}, Task(torch.tensor(counts), seed=1, imbalance=90)).rare
        assert rare.all() or not rare.any()


def test_a_class_at_the_threshold_is_not_rare() -> None:
    task = Task(counts=torch.tensor([75, 25]), seed=1, imbalance=3)
    assert EQL({"threshold": 0.25}, task).rare.tolist() == [False, False]
    assert EQL({"threshold": 0.2501}, task).rare.tolist() == [False, True]


@pytest.mark.parametrize("name", CASES)
def test_without_draws_or_without_rare_classes_it_is_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    for method in (method_of(gamma=0.0), method_of(gamma=1.0, threshold=0.0), method_of(EQUAL, gamma=1.0)):
        np.testing.assert_allclose(found_losses(method, name), expected, rtol=1e-10, atol=1e-10)


def spared(draw: str, gamma: float, images: int, iteration: int, seed: int = 1) -> NDArray[np.int64]:
    """How many of the three rare classes leave the denominator of each of `images` images, [images]."""
    method = method_of(Task(COUNTS.counts, seed, COUNTS.imbalance), gamma=gamma, draw=draw)
    # with equal logits the loss is the log of the number of classes in the denominator
    losses = method.sample_losses(
        torch.zeros(images, CLASSES, dtype=torch.float64),
        torch.zeros(images, dtype=torch.int64),
        StepInfo(iteration, 1000, 0.1),
    )
    return np.rint(CLASSES - np.exp(losses.numpy())).astype(np.int64)


@pytest.mark.parametrize("gamma", [0.2, 0.9])
def test_every_element_is_drawn_on_its_own_with_probability_gamma(gamma: float) -> None:
    found = np.bincount(spared("element", gamma, 4000, 0), minlength=RARE + 1) / 4000
    expected = [math.comb(RARE, k) * gamma**k * (1 - gamma) ** (RARE - k) for k in range(RARE + 1)]
    np.testing.assert_allclose(found, expected, atol=0.03)  # four standard deviations


@pytest.mark.parametrize("gamma", [0.2, 0.9])
def test_by_image_all_rare_classes_are_spared_together_with_probability_gamma(gamma: float) -> None:
    found = spared("image", gamma, 4000, 0)
    assert set(found) == {0, RARE}
    assert (found == RARE).mean() == pytest.approx(gamma, abs=0.03)


@pytest.mark.parametrize("gamma", [0.2, 0.9])
def test_by_batch_all_images_share_a_draw_with_probability_gamma(gamma: float) -> None:
    batches = [spared("batch", gamma, 5, iteration) for iteration in range(800)]
    assert all(len(set(batch)) == 1 for batch in batches)
    hits = [batch[0] for batch in batches]
    assert set(hits) == {0, RARE}
    assert np.mean(np.array(hits) == RARE) == pytest.approx(gamma, abs=0.06)


@pytest.mark.parametrize("draw", ["element", "image"])
def test_draws_are_of_the_seed_and_the_iteration_and_of_nothing_else(draw: str) -> None:
    first = spared(draw, 0.5, 200, iteration=3)
    torch.rand(7)
    assert (spared(draw, 0.5, 200, iteration=3) == first).all()
    assert (spared(draw, 0.5, 200, iteration=4) != first).any()
    assert (spared(draw, 0.5, 200, iteration=3, seed=2) != first).any()


def test_only_their_own_images_move_the_logits_of_rare_classes_where_gamma_is_1() -> None:
    logits, labels = CASES["random logits"]
    z = torch.from_numpy(logits).requires_grad_()
    losses = method_of(gamma=1.0).sample_losses(z, torch.from_numpy(labels), MOMENT)
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    rare = np.arange(CLASSES) >= CLASSES - RARE
    foreign = labels[:, None] != np.arange(CLASSES)
    found = gradient.numpy()
    assert (found[rare & foreign] == 0).all()
    assert (found[rare & ~foreign] < 0).all()  # pulled up by their own
    assert (found[~rare & foreign] > 0).all()  # frequent classes are pushed down


@pytest.mark.parametrize("draw", DRAWS)
def test_its_gradient_is_that_of_its_values(draw: str) -> None:
    check_gradient(method_of(gamma=0.5, draw=draw))


def test_logits_of_single_precision_give_losses_of_single_precision_for_the_same_draws() -> None:
    logits, labels = CASES["logits of 1e4 and -1e4"]
    losses = method_of().sample_losses(torch.from_numpy(logits).float(), torch.from_numpy(labels), MOMENT)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(
        losses, found_losses(method_of(), "logits of 1e4 and -1e4"), rtol=1e-6, atol=1e-6
    )


def test_a_training_lowers_the_loss_and_beats_chance_on_the_smallest_classes() -> None:
    schedule = Steps(start=0.1, peak=0.1, warmup=0, milestones=(26,))
    rows = []
    for seed in (1, 2, 3):
        trainer = make_trainer(
            "eql", {"threshold": 0.15}, seed=seed, noise=0.5, iterations=40, schedule=schedule
        )
        assert isinstance(trainer.method, EQL)
        assert trainer.method.rare.tolist() == [False, False, True, True]
        trainer.run()
        rows.append((trainer.history.rows[1], trainer.history.rows[-1]))
    losses = np.array([[row["train_loss"] for row in pair] for pair in rows]).mean(0)
    assert losses[1] < losses[0] / 2
    few = np.mean([last["accuracy"][2:] for _, last in rows])
    assert few > 0.4  # chance: 0.25
