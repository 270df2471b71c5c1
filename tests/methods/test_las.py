"""LAS: the released formula, its table of smoothings, its limits; W, b and s are trained."""

import math

import numpy as np
import pytest
import torch

from longtail.config.presets import METHODS
from longtail.methods.las import LAS, smoothing, smoothing_ends
from longtail.training.method import Task
from tests.support.heads import changed, reference_logits, retrain
from tests.support.losses import CASES, CLASSES, COUNTS, EQUAL, check_gradient, found_losses, log_softmax

SETTINGS = {"smoothing_head": 0.35, "smoothing_tail": 0.05}


def formula(name: str, counts: list[int], head: float, tail: float) -> list[float]:
    """One sample after the other, as METHODS writes it."""
    logits, labels = CASES[name]
    losses = []
    for row, y in zip(-log_softmax(logits), labels.tolist(), strict=True):
        low, high = min(counts), max(counts)
        epsilon = tail + (head - tail) * math.sin(math.pi * (counts[y] - low) / (2 * (high - low)))
        losses.append((1 - epsilon) * row[y] + epsilon * sum(row) / len(row))
    return losses


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_released_code(name: str) -> None:
    expected = formula(name, COUNTS.counts.tolist(), 0.35, 0.05)
    np.testing.assert_allclose(found_losses(LAS(SETTINGS, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_without_settings_the_smoothing_is_that_of_the_imbalance() -> None:
    expected = formula("random logits", COUNTS.counts.tolist(), 0.4, 0.1)  # imbalance 100
    np.testing.assert_allclose(found_losses(LAS({}, COUNTS), "random logits"), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("imbalance", "ends"),
    [
        (200, (0.4, 0.0)),
        (100.5, (0.4, 0.0)),
        (100, (0.4, 0.1)),
        (51, (0.4, 0.1)),
        (50, (0.3, 0.0)),
        (21, (0.3, 0.0)),
        (20, (0.2, 0.0)),
        (10, (0.2, 0.0)),
        (1, (0.2, 0.0)),
    ],
)
def test_head_and_tail_smoothing_are_those_of_the_authors(
    imbalance: float, ends: tuple[float, float]
) -> None:
    assert smoothing_ends(imbalance) == ends


@pytest.mark.parametrize(("imbalance", "head"), [(200, 0.3), (100, 0.3), (50, 0.2), (20, 0.1), (10, 0.1)])
def test_on_cifar_10_the_smoothing_is_that_of_mislas(imbalance: float, head: float) -> None:
    found = METHODS["las"].resolve("las", "cifar10-lt", imbalance, {}, 0.3)
    assert (found["smoothing_head"], found["smoothing_tail"]) == (head, 0.0)


def test_smoothing_grows_from_tail_to_head_with_the_class() -> None:
    epsilon = smoothing(COUNTS.counts, 0.4, 0.1)
    assert float(epsilon[0]) == pytest.approx(0.4, rel=1e-12)
    assert float(epsilon[-1]) == pytest.approx(0.1, rel=1e-12)
    assert (epsilon.diff() < 0).all()
    middle = smoothing(torch.tensor([1, 2, 3]), 0.4, 0.1)[1]
    assert float(middle) == pytest.approx(0.1 + 0.3 * math.sqrt(0.5), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("task", [COUNTS, EQUAL], ids=["tail", "equal counts"])
def test_without_smoothing_it_is_cross_entropy(name: str, task: Task) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    method = LAS({"smoothing_head": 0.0, "smoothing_tail": 0.0}, task)
    np.testing.assert_allclose(found_losses(method, name), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_equal_counts_give_ordinary_label_smoothing(name: str) -> None:
    logits, labels = CASES[name]
    targets = (1 - 0.35) * np.eye(CLASSES)[labels] + 0.35 / CLASSES
    expected = -(targets * log_softmax(logits)).sum(1)
    np.testing.assert_allclose(found_losses(LAS(SETTINGS, EQUAL), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(LAS(SETTINGS, COUNTS))


def test_classifier_and_scales_change_from_those_of_stage_1_and_nothing_else() -> None:
    before, model, trainer = retrain("las")
    assert changed(before, model) == {"head.weight", "head.bias", "head.scale"}
    assert torch.equal(before["head.weight"], before["network.classifier.weight"])
    assert torch.equal(before["head.bias"], before["network.classifier.bias"])
    assert (before["head.scale"] == 1).all()
    images = trainer.data.meta.pixels
    torch.testing.assert_close(model.eval()(images), reference_logits(model, images))
