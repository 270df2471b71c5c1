"""Focal loss: both published forms, their limits, the factor with and without a gradient."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longtail.config.presets import METHODS
from longtail.config.training import Steps
from longtail.methods.focal import Focal, sigmoid_focal_losses, softmax_focal_losses
from longtail.networks import build_network
from tests.support.losses import CASES, CLASSES, COUNTS, MOMENT, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer

GAMMAS = [0.5, 1.0, 2.0]


def own(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """log p_y, [B]."""
    return log_softmax(logits)[np.arange(len(labels)), labels]


def softmax_formula(name: str, gamma: float) -> NDArray[np.float64]:
    """(1 - p_y)^gamma (-log p_y)."""
    log_p = own(*CASES[name])
    return (1 - np.exp(log_p)) ** gamma * -log_p


def sigmoid_formula(name: str, gamma: float) -> list[float]:
    """sum_c (1 - q_c)^gamma (-log q_c), one class after the other."""
    logits, labels = CASES[name]
    losses = []
    for row, y in zip(logits, labels, strict=True):
        total = 0.0
        for c, z in enumerate(row):
            minus_log_q = np.logaddexp(0, -z if c == y else z)
            total += (1 - math.exp(-minus_log_q)) ** gamma * minus_log_q
        losses.append(total)
    return losses


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_softmax_form_is_that_of_the_paper(name: str, gamma: float) -> None:
    for factor_gradient in (True, False):
        method = Focal({"gamma": gamma, "factor_gradient": factor_gradient}, COUNTS)
        found = found_losses(method, name)
        np.testing.assert_allclose(found, softmax_formula(name, gamma), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_sigmoid_form_is_the_sum_over_classes(name: str, gamma: float) -> None:
    found = found_losses(Focal({"gamma": gamma, "form": "sigmoid"}, COUNTS), name)
    np.testing.assert_allclose(found, sigmoid_formula(name, gamma), rtol=1e-10, atol=1e-10)


def test_by_default_it_is_the_softmax_form_with_gamma_1() -> None:
    settings = METHODS["focal"].resolve("focal", "digits-lt", 50, {}, 0.3)
    assert settings == {"gamma": 1.0, "form": "softmax", "factor_gradient": True}
    found = found_losses(Focal(settings, COUNTS), "random logits")
    np.testing.assert_allclose(found, softmax_formula("random logits", 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_with_gamma_0_it_is_cross_entropy(name: str) -> None:
    found = found_losses(Focal({"gamma": 0.0}, COUNTS), name)
    np.testing.assert_allclose(found, -own(*CASES[name]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_with_gamma_0_the_sigmoid_form_is_binary_cross_entropy_of_every_class(name: str) -> None:
    logits, labels = CASES[name]
    signs = 1 - 2 * np.eye(CLASSES)[labels]
    found = found_losses(Focal({"gamma": 0.0, "form": "sigmoid"}, COUNTS), name)
    np.testing.assert_allclose(found, np.logaddexp(0, signs * logits).sum(1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
def test_its_gradient_is_that_of_its_values(form: str, gamma: float) -> None:
    check_gradient(Focal({"gamma": gamma, "form": form}, COUNTS))


@pytest.mark.parametrize("factor_gradient", [True, False])
def test_the_factor_takes_part_in_the_gradient_or_is_a_constant(factor_gradient: bool) -> None:
    logits, labels = CASES["random logits"]
    z = torch.from_numpy(logits).requires_grad_()
    method = Focal({"gamma": 2.0, "factor_gradient": factor_gradient}, COUNTS)
    (found,) = torch.autograd.grad(method.sample_losses(z, torch.from_numpy(labels), MOMENT).sum(), z)

    # d l / d log p_y, times d log p_y / d z = e_y - p
    log_p = own(logits, labels)
    p = np.exp(log_p)
    slope = -((1 - p) ** 2)
    if factor_gradient:
        slope += 2 * (1 - p) * p * log_p
    expected = slope[:, None] * (np.eye(CLASSES)[labels] - np.exp(log_softmax(logits)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 5.0])
def test_gradients_are_finite_where_the_network_is_certain(
    dtype: torch.dtype, form: str, gamma: float
) -> None:
    logits, labels = CASES["logits of 1e4 and -1e4"]
    certain = np.concatenate([logits, 1e4 * (2 * np.eye(CLASSES) - 1)])  # right without doubt
    classes = torch.from_numpy(np.concatenate([labels, np.arange(CLASSES)]))
    z = torch.from_numpy(certain).to(dtype).requires_grad_()
    losses = Focal({"gamma": gamma, "form": form}, COUNTS).sample_losses(z, classes, MOMENT)
    assert losses.dtype == dtype
    assert torch.isfinite(losses).all()
    assert (losses[-CLASSES:] == 0).all()
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert torch.isfinite(gradient).all()
    assert (gradient[-CLASSES:] == 0).all()


def test_single_precision_keeps_the_loss_of_a_class_that_is_almost_certain() -> None:
    z = torch.tensor([[20.0]])  # 1 - q = 2e-9, less than float32 resolves next to 1
    found = sigmoid_focal_losses(z, torch.tensor([0]), gamma=1.0)
    assert found.item() == pytest.approx(math.exp(-20.0) ** 2, rel=1e-5, abs=0)


def test_known_images_count_less_than_in_cross_entropy_and_unknown_ones_almost_the_same() -> None:
    z = torch.tensor([[6.0, 0.0], [-6.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0])
    ratio = softmax_focal_losses(z, labels, 1.0) / softmax_focal_losses(z, labels, 0.0)
    p = 1 / (1 + math.exp(-6.0))
    np.testing.assert_allclose(ratio, [1 - p, p], rtol=1e-10)


def test_the_sigmoid_form_starts_at_a_probability_of_1_in_c_for_every_class() -> None:
    adapted = Focal({"form": "sigmoid"}, COUNTS).adapt(build_network("digits_resnet", CLASSES, 1))
    bias = adapted.get_parameter("classifier.bias")
    torch.testing.assert_close(torch.sigmoid(bias), torch.full((CLASSES,), 1 / CLASSES))
    network = build_network("digits_resnet", CLASSES, 1)
    before = network.get_parameter("classifier.bias").clone()
    assert Focal({}, COUNTS).adapt(network) is network
    assert torch.equal(network.get_parameter("classifier.bias"), before)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_training_lowers_the_loss_and_beats_chance_on_the_smallest_classes(form: str) -> None:
    schedule = Steps(start=0.1, peak=0.1, warmup=0, milestones=(26,))
    rows = []
    for seed in (1, 2, 3):
        trainer = make_trainer(
            "focal", {"form": form}, seed=seed, noise=0.5, iterations=40, schedule=schedule
        )
        trainer.run()
        rows.append((trainer.history.rows[1], trainer.history.rows[-1]))
    losses = np.array([[row["train_loss"] for row in pair] for pair in rows]).mean(0)
    assert losses[1] < losses[0] / 2
    few = np.mean([last["accuracy"][2:] for _, last in rows])
    assert few > 0.4  # chance: 0.25
