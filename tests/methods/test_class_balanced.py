"""Class-Balanced loss: weights of the effective number, the three losses they weight, the limits of beta."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longtail.config.presets import METHODS
from longtail.config.training import Steps
from longtail.methods.class_balanced import ClassBalanced, effective_number_weights
from longtail.networks import build_network
from longtail.training.method import Task
from tests.support.losses import CASES, CLASSES, COUNTS, EQUAL, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer

BETAS = [0.9, 0.99, 0.999, 0.9999]
N = COUNTS.counts.numpy().astype(float)
LOSSES = ["softmax", "sigmoid", "focal"]
GAMMA = 2.0


def weights_formula(beta: float) -> NDArray[np.float64]:
    """(1 - beta) / (1 - beta^n), times what makes their sum C."""
    weights = np.array([(1 - beta) / (1 - beta**n) for n in N])
    return weights / weights.sum() * len(weights)


def unweighted(name: str, loss: str) -> NDArray[np.float64]:
    """L(z, y), [B]."""
    logits, labels = CASES[name]
    if loss == "softmax":
        return -log_softmax(logits)[np.arange(len(labels)), labels]
    minus_log_q = np.logaddexp(0, (1 - 2 * np.eye(CLASSES)[labels]) * logits)
    factor = (1 - np.exp(-minus_log_q)) ** GAMMA if loss == "focal" else 1.0
    return (factor * minus_log_q).sum(1)


def method_of(task: Task = COUNTS, **settings: object) -> ClassBalanced:
    return ClassBalanced({"gamma": GAMMA, **settings}, task)


@pytest.mark.parametrize("beta", BETAS)
def test_the_weights_are_those_of_the_effective_number(beta: float) -> None:
    found = method_of(beta=beta).weights()
    np.testing.assert_allclose(found, weights_formula(beta), rtol=1e-10)
    assert float(found.mean()) == pytest.approx(1, rel=1e-12)
    assert (found.diff() > 0).all()  # classes get smaller


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_the_paper(loss: str, name: str) -> None:
    for beta in BETAS:
        expected = weights_formula(beta)[CASES[name][1]] * unweighted(name, loss)
        found = found_losses(method_of(beta=beta, loss=loss), name)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_by_default_cross_entropy_is_weighted_with_beta_0_9999() -> None:
    preset = METHODS["class_balanced"]
    settings = preset.resolve("class_balanced", "elsewhere", 50, {}, 0.3)
    assert settings == {"beta": 0.9999, "loss": "softmax", "gamma": 1.0}
    assert preset.resolve("class_balanced", "digits-lt", 50, {}, 0.3) == settings | {"beta": 0.99}
    found = found_losses(ClassBalanced(settings, COUNTS), "random logits")
    expected = weights_formula(0.9999)[CASES["random logits"][1]] * unweighted("random logits", "softmax")
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loss", LOSSES)
def test_with_beta_0_or_equal_counts_nothing_is_weighted(loss: str, name: str) -> None:
    for method in (method_of(beta=0.0, loss=loss), method_of(EQUAL, beta=0.9999, loss=loss)):
        np.testing.assert_allclose(found_losses(method, name), unweighted(name, loss), rtol=1e-10, atol=1e-10)


def test_towards_beta_1_weights_are_inverse_counts() -> None:
    inverse = 1 / N
    inverse *= CLASSES / inverse.sum()
    for gap in (1e-5, 1e-7, 1e-9, 1e-11, 1e-15):
        found = effective_number_weights(COUNTS.counts, 1 - gap).numpy()
        # 1 - beta^n = n gap (1 - (n - 1) gap / 2 + ...)
        assert np.abs(found / inverse - 1).max() < N.max() * gap + 1e-12
    assert np.abs(weights_formula(0.9999) / inverse - 1).max() > 1e-3  # short of the limit they differ


@pytest.mark.parametrize("beta", [0.9999, 1 - 1e-7, 1 - 1e-10])
def test_close_to_beta_1_no_digits_are_lost(beta: float) -> None:
    exact = [1 / (1 - Fraction(beta) ** int(n)) for n in N]
    expected = [float(CLASSES * weight / sum(exact)) for weight in exact]
    np.testing.assert_allclose(effective_number_weights(COUNTS.counts, beta), expected, rtol=1e-13)


def test_towards_beta_0_weights_are_equal() -> None:
    np.testing.assert_allclose(effective_number_weights(COUNTS.counts, 1e-12), np.ones(CLASSES), rtol=1e-11)


def test_millions_of_images_and_one_have_finite_weights() -> None:
    found = effective_number_weights(torch.tensor([10**9, 1]), 0.9999)
    # 1 - beta^n is 1 and 1 - beta
    np.testing.assert_allclose(found, np.array([1e-4, 1]) * 2 / (1 + 1e-4), rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_its_gradient_is_that_of_its_values(loss: str) -> None:
    check_gradient(method_of(beta=0.99, loss=loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_sigmoids_start_at_a_probability_of_1_in_c_and_the_softmax_as_it_was(loss: str) -> None:
    network = build_network("digits_resnet", CLASSES, 1)
    before = network.get_parameter("classifier.bias").detach().clone()
    bias = method_of(loss=loss).adapt(network).get_parameter("classifier.bias")
    if loss == "softmax":
        assert torch.equal(bias, before)
    else:
        torch.testing.assert_close(torch.sigmoid(bias), torch.full((CLASSES,), 1 / CLASSES))


@pytest.mark.parametrize("loss", ["softmax", "focal"])
def test_a_training_lowers_the_loss_and_beats_chance_on_the_smallest_classes(loss: str) -> None:
    schedule = Steps(start=0.1, peak=0.1, warmup=0, milestones=(26,))
    rows = []
    for seed in (1, 2, 3):
        trainer = make_trainer(
            "class_balanced",
            {"beta": 0.99, "loss": loss},
            seed=seed,
            noise=0.5,
            iterations=40,
            schedule=schedule,
        )
        trainer.run()
        assert trainer.history.rows[-1]["weight"] == trainer.method.weights().tolist()  # type: ignore[union-attr]
        rows.append((trainer.history.rows[1], trainer.history.rows[-1]))
    losses = np.array([[row["train_loss"] for row in pair] for pair in rows]).mean(0)
    assert losses[1] < losses[0] / 2
    few = np.mean([last["accuracy"][2:] for _, last in rows])
    assert few > 0.7  # chance: 0.25
