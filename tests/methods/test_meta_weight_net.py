"""Meta-Weight-Net against a naive loop: double backward, both kinds of SGD by hand, in float64."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.config.training import Steps
from longtail.methods.meta_weight_net import MetaWeightNet
from longtail.training.method import StepInfo
from longtail.training.trainer import Trainer
from tests.support.losses import CASES, COUNTS, log_softmax
from tests.support.naive_loop import NaiveLoop, distance
from tests.support.small_training import CLASSES, default_dtype, make_trainer

MOMENT = StepInfo(iteration=0, iterations=100, learning_rate=0.1)
ACCURACY = torch.tensor([0.9, 0.6, 0.4, 0.1], dtype=torch.float64)
STEPS = 20
BASE = {"hidden": 8, "learning_rate": 1.0}  # large, so that theta matters within 20 steps
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "detached": {"detach_input": True},
    "class": {"level": "class"},
}


def trainer_of(dtype: torch.dtype = torch.float64, iterations: int = STEPS, **settings: Any) -> Trainer:
    return make_trainer("meta_weight_net", {**BASE, **settings}, dtype=dtype, iterations=iterations)


def method_of(trainer: Trainer) -> MetaWeightNet:
    assert isinstance(trainer.method, MetaWeightNet)
    return trainer.method


def method_for_cases(**settings: Any) -> MetaWeightNet:
    with default_dtype(torch.float64):
        return MetaWeightNet({**BASE, **settings}, COUNTS)


class Reference(NaiveLoop):
    """The algorithm of the paper, one line after the other."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        method = method_of(trainer)
        self.settings = method.settings
        self.theta = [value.detach().clone().requires_grad_() for value in method.theta]
        self.theta_momentum = [torch.zeros_like(value) for value in self.theta]

    def v(self, values: Tensor) -> Tensor:
        w1, b1, w2, b2 = self.theta
        return torch.sigmoid(torch.relu(values[:, None] * w1[:, 0] + b1) @ w2[0] + b2)

    def weighted(self, losses: Tensor, labels: Tensor, values: Tensor) -> Tensor:
        """The loss of the batch, V seeing `values`."""
        if self.settings.level == "class":
            difficulty = self.v(self.accuracy)
            return (CLASSES * (difficulty / difficulty.sum())[labels] * losses).mean()
        weights = self.v(values)
        return (weights / weights.sum() * losses).sum()

    def inner(self, losses: Tensor, labels: Tensor) -> Tensor:
        return self.weighted(losses, labels, losses.detach() if self.settings.detach_input else losses)

    def theta_gradient(self, rate: float) -> list[Tensor]:
        return list(torch.autograd.grad(self.meta_loss(self.inner, rate), self.theta))

    def iterate(self, rate: float) -> None:
        gradients = self.theta_gradient(rate)
        with torch.no_grad():
            for i, (value, gradient) in enumerate(zip(self.theta, gradients, strict=True)):
                decayed = gradient + self.settings.weight_decay * value
                self.theta_momentum[i] = 0.9 * self.theta_momentum[i] + decayed
                value -= self.settings.learning_rate * (decayed + 0.9 * self.theta_momentum[i])
        losses, labels = self.losses()
        self.descend(self.weighted(losses, labels, losses.detach()), rate)


def theta_gradient(**settings: Any) -> tuple[Tensor, Reference, Trainer]:
    """What theta is given in one step after a refresh, flat; the reference beside it."""
    trainer = trainer_of(**settings)
    trainer.method.refresh(ACCURACY)
    reference = Reference(trainer)
    reference.accuracy = ACCURACY
    data = trainer.data
    trainer.model.train()
    trainer.method.backward(trainer.model, data.train_batch(0), data.meta_batch(0), MOMENT)
    return flat([value.grad for value in method_of(trainer).theta]), reference, trainer


def flat(tensors: list[Any]) -> Tensor:
    return torch.cat([value.flatten() for value in tensors])


@pytest.mark.parametrize("name", VARIANTS)
def test_theta_gets_the_gradient_of_double_backward(name: str) -> None:
    found, reference, _ = theta_gradient(**VARIANTS[name])
    expected = flat(reference.theta_gradient(float(MOMENT.learning_rate)))
    assert expected.norm() > 1e-6
    assert distance(found, expected) < 1e-10


def test_forgetting_that_the_weights_depend_on_phi_would_be_noticed() -> None:
    found, reference, _ = theta_gradient(detach_input=True)
    reference.settings = reference.settings.model_copy(update={"detach_input": False})
    assert distance(found, flat(reference.theta_gradient(float(MOMENT.learning_rate)))) > 1e-2


def test_a_sum_in_place_of_the_weighted_mean_would_be_noticed() -> None:
    found, reference, _ = theta_gradient()
    count = len(reference.data.train_batch(0).labels)
    wrong = reference.meta_loss(lambda losses, labels: count * reference.inner(losses, labels), 0.1)
    assert distance(found, flat(list(torch.autograd.grad(wrong, reference.theta)))) > 1e-2


@cache
def run_reference(name: str) -> Reference:
    """The loop, to its end; not to be changed afterwards."""
    reference = Reference(trainer_of(**VARIANTS[name]))
    reference.run()
    return reference


@pytest.mark.parametrize("name", VARIANTS)
def test_twenty_steps_equal_the_naive_loop(name: str) -> None:
    trainer = trainer_of(**VARIANTS[name])
    start = flat(method_of(trainer).theta).detach().clone()
    trainer.run()
    reference = run_reference(name)
    reference.assert_same_model(trainer.model)
    end = flat(reference.theta)
    torch.testing.assert_close(flat(method_of(trainer).theta), end, rtol=1e-8, atol=1e-8)
    assert (end - start).norm() > 1e-3  # theta has moved


@pytest.mark.parametrize(
    "change",
    [{"detach_input": True}, {"level": "class"}, {"weight_decay": 0.0}, {"learning_rate": 1.01}],
    ids=str,
)
def test_a_loop_with_another_setting_would_be_noticed(change: dict[str, Any]) -> None:
    trainer = trainer_of(**change)
    trainer.run()
    with pytest.raises(AssertionError):
        run_reference("as published").assert_same_model(trainer.model)


def numpy_log_v(method: MetaWeightNet, values: NDArray[np.float64]) -> NDArray[np.float64]:
    w1, b1, w2, b2 = (value.detach().numpy() for value in method.theta)
    out = np.maximum(values[:, None] * w1[:, 0] + b1, 0) @ w2[0] + b2
    return -np.logaddexp(0, -out)


def case_losses(name: str) -> tuple[Tensor, Tensor]:
    logits, labels = CASES[name]
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    return torch.from_numpy(losses), torch.from_numpy(labels)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_mean_weighted_with_v_of_the_losses(name: str) -> None:
    method = method_for_cases()
    losses, labels = case_losses(name)
    log_v = numpy_log_v(method, losses.numpy())
    v = np.exp(log_v - log_v.max())
    expected = (v / v.sum() * losses.numpy()).sum()
    found = (method.sample_weights(losses, labels) * losses).mean()
    np.testing.assert_allclose(found.item(), expected, rtol=1e-10, atol=1e-10)
    factors = method.step_weights(losses, labels)
    assert torch.isfinite(factors).all()
    for gradient in torch.autograd.grad(factors.sum(), method.theta):
        assert torch.isfinite(gradient).all()


def test_at_class_level_the_weights_are_relative_and_of_mean_one() -> None:
    method = method_for_cases(level="class")
    accuracy = torch.tensor([0.9, 0.8, 0.7, 0.4, 0.1, 0.0], dtype=torch.float64)
    method.refresh(accuracy)
    d = np.exp(numpy_log_v(method, accuracy.numpy()))
    weights, difficulty = method.weights(), method.difficulty()
    assert weights is not None
    assert difficulty is not None
    np.testing.assert_allclose(difficulty.numpy(), d, rtol=1e-12)
    np.testing.assert_allclose(weights.numpy(), 6 * d / d.sum(), rtol=1e-12)
    assert weights.max() - weights.min() > 1e-3
    losses, labels = case_losses("two classes only")
    expected = weights[labels]
    torch.testing.assert_close(method.sample_weights(losses, labels), expected, rtol=1e-12, atol=0)


def test_weights_stay_finite_where_v_is_zero_for_all_images() -> None:
    method = method_for_cases()
    with torch.no_grad():
        for value, number in zip(method.theta, (1.0, 0.0, -1.0, 0.0), strict=True):
            value.fill_(number)
    losses = torch.tensor([2e4, 2e4 + 0.125], dtype=torch.float64)  # V = sigmoid(-8 l)
    found = method.sample_weights(losses, torch.tensor([0, 1]))
    ratio = np.exp(-8 * 0.125)
    np.testing.assert_allclose(found.detach(), [2 / (1 + ratio), 2 * ratio / (1 + ratio)], rtol=1e-6)
    assert torch.isfinite(method.step_weights(losses, torch.tensor([0, 1]))).all()


@pytest.mark.parametrize("level", ["sample", "class"])
def test_a_constant_v_gives_plain_cross_entropy(level: str) -> None:
    method = method_for_cases(level=level)
    with torch.no_grad():
        method.theta[2].zero_()
    method.refresh(torch.linspace(0, 1, 6, dtype=torch.float64))
    losses, labels = case_losses("random logits")
    for found in (method.sample_weights(losses, labels), method.step_weights(losses, labels)):
        torch.testing.assert_close(found, torch.ones_like(losses), rtol=1e-12, atol=0)


def test_the_inner_step_takes_each_image_by_the_slope_of_the_weighted_loss() -> None:
    method = method_for_cases()
    losses, labels = case_losses("random logits")

    def weighted(values: Tensor) -> float:
        v = np.exp(numpy_log_v(method, values.numpy()))
        return float(len(v) * (v / v.sum() * values.numpy()).sum())

    found = method.step_weights(losses, labels).detach()
    for i in range(len(losses)):
        aside = torch.zeros_like(losses)
        aside[i] = 1e-6
        slope = (weighted(losses + aside) - weighted(losses - aside)) / 2e-6
        assert float(found[i]) == pytest.approx(slope, rel=1e-6, abs=1e-7)
    assert (found - method.sample_weights(losses, labels)).abs().max() > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_state_and_load_state_continue_to_the_same_bits(name: str) -> None:
    going, fresh = (trainer_of(torch.float32, 9, **VARIANTS[name]) for _ in range(2))
    saved: list[dict[str, Any]] = []
    going.run(after_epoch=lambda trainer: saved.append(copy.deepcopy(trainer.state())))
    fresh.load_state(saved[0])
    fresh.run()
    assert 0 < saved[0]["iteration"] < 9
    for one, other in zip(
        [*going.model.state_dict().values(), *method_of(going).theta],
        [*fresh.model.state_dict().values(), *method_of(fresh).theta],
        strict=True,
    ):
        assert torch.equal(one, other)
    assert str(going.history.rows) == str(fresh.history.rows)


@pytest.mark.parametrize("level", ["sample", "class"])
def test_the_history_has_class_weights_at_class_level_only(level: str) -> None:
    trainer = trainer_of(level=level, iterations=6)
    trainer.run()
    for row in trainer.history.rows:
        assert (row["weight"] is None) == (row["difficulty"] is None) == (level == "sample")
        if level == "class":
            assert sum(row["weight"]) / CLASSES == pytest.approx(1, rel=1e-12)
    assert trainer.history.rows[-1]["grad_norm_meta"] > 0
    assert trainer.history.rows[-1]["meta_loss"] > 0


@pytest.mark.parametrize("name", VARIANTS)
def test_a_training_lowers_the_loss_and_beats_chance_on_small_classes(name: str) -> None:
    schedule = Steps(start=0.1, peak=0.2, warmup=5, milestones=(25, 35))
    settings = {**VARIANTS[name], "learning_rate": 1e-2}
    trainer = make_trainer("meta_weight_net", settings, iterations=40, noise=0.5, schedule=schedule)
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < 0.5 * rows[1]["train_loss"]
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / CLASSES
