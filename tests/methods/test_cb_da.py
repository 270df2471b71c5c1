"""CB-DA against a naive loop (double backward in float64), plain NumPy, and the methods that it contains."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.config.training import Steps
from longtail.methods.cb_da import CBDA
from longtail.training.method import Batch, StepInfo
from longtail.training.trainer import Trainer
from tests.support.losses import CASES, COUNTS, EQUAL, log_softmax
from tests.support.naive_loop import NaiveLoop, distance
from tests.support.small_training import CLASSES, make_trainer
from tests.support.small_training import COUNTS as SMALL_COUNTS

LATE = StepInfo(iteration=90, iterations=100, learning_rate=0.1)
STEPS = 20
BASE = {"beta": 0.99, "start": 0.4, "epsilon_learning_rate": 3.0}  # large, so that eps matters
SETTINGS: dict[str, dict[str, Any]] = {
    "late": {},
    "from the beginning": {"start": 0.0},
    "never": {"start": 1.0},
}


def trainer_of(dtype: torch.dtype = torch.float64, iterations: int = STEPS, **settings: Any) -> Trainer:
    return make_trainer("cb_da", {**BASE, **settings}, dtype=dtype, iterations=iterations)


def class_weights(counts: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """(1 - beta) / (1 - beta^n), rescaled to sum C."""
    weights = (1 - beta) / (1 - beta**counts)
    return weights * len(weights) / weights.sum()


class Reference(NaiveLoop):
    """The algorithm, one line after the other."""

    inner_mean = False

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        assert isinstance(trainer.method, CBDA)
        self.settings = trainer.method.settings
        counts = np.array(SMALL_COUNTS, dtype=float)
        self.w = torch.from_numpy(class_weights(counts, self.settings.beta))

    def epsilon_gradient(self, rate: float) -> Tensor:
        """dL_meta/d eps, [B], at eps = 0."""
        epsilon = torch.zeros_like(self.data.train_batch(self.iteration).labels).double().requires_grad_()

        def inner(losses: Tensor, labels: Tensor) -> Tensor:
            weighted = (self.w[labels] + epsilon) * losses
            return weighted.mean() if self.inner_mean else weighted.sum()

        return torch.autograd.grad(self.meta_loss(inner, rate), epsilon)[0]

    def iterate(self, rate: float) -> None:
        first_of_epoch = self.iteration - self.iteration % self.data.batches_per_epoch
        if first_of_epoch < self.settings.start * self.training.iterations:
            self.descend(self.losses()[0].mean(), rate)
            return
        epsilon = -self.settings.epsilon_learning_rate * self.epsilon_gradient(rate)
        losses, labels = self.losses()
        self.descend(((self.w[labels] + epsilon) * losses).mean(), rate)


def test_epsilon_is_minus_the_gradient_of_double_backward() -> None:
    trainer = trainer_of()
    reference = Reference(trainer)
    data, model = trainer.data, trainer.model.train()
    trainer.method.backward(model, data.train_batch(0), data.meta_batch(0), LATE)
    found = [value.grad for value in model.parameters() if value.grad is not None]

    exact = reference.epsilon_gradient(float(LATE.learning_rate))
    reference.inner_mean = True
    wrong = reference.epsilon_gradient(float(LATE.learning_rate))
    losses, labels = reference.losses()
    values = list(reference.model.parameters())
    parts = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, values, retain_graph=True)])
        for loss in (
            (reference.w[labels] * losses).mean(),
            (-3.0 * exact * losses).mean(),
            (-3.0 * wrong * losses).mean(),
        )
    ]
    flat = torch.cat([g.flatten() for g in found])
    # what eps contributes to the gradient of phi, apart from what the class weights do
    assert parts[1].norm() > 1e-3 * parts[0].norm()
    assert distance(flat - parts[0], parts[1]) < 1e-10
    assert distance(flat - parts[0], parts[2]) > 1e-2


def test_the_history_has_the_norm_of_the_gradient_of_epsilon() -> None:
    trainer = trainer_of()
    reference = Reference(trainer)
    data, model = trainer.data, trainer.model.train()
    scalars = trainer.method.backward(model, data.train_batch(0), data.meta_batch(0), LATE)
    expected = reference.epsilon_gradient(float(LATE.learning_rate)).norm()
    torch.testing.assert_close(scalars["grad_norm_meta"], expected, rtol=1e-10, atol=0)


@cache
def run_reference(name: str) -> Reference:
    """The loop, to its end; not to be changed afterwards."""
    reference = Reference(trainer_of(**SETTINGS[name]))
    reference.run()
    return reference


@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_steps_equal_the_naive_loop(name: str) -> None:
    trainer = trainer_of(**SETTINGS[name])
    trainer.run()
    run_reference(name).assert_same_model(trainer.model)


@pytest.mark.parametrize("change", [{"start": 0.7}, {"beta": 0.999}, {"epsilon_learning_rate": 2.9}], ids=str)
def test_a_loop_with_another_setting_would_be_noticed(change: dict[str, Any]) -> None:
    trainer = trainer_of(**change)
    trainer.run()
    with pytest.raises(AssertionError):
        run_reference("late").assert_same_model(trainer.model)


def assert_same_training(one: Trainer, other: Trainer, tolerance: float) -> None:
    for trainer in (one, other):
        trainer.run()
    for found, expected in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_before_its_start_it_is_cross_entropy_to_the_bit() -> None:
    other = make_trainer("cross_entropy", iterations=9)
    assert_same_training(trainer_of(torch.float32, 9, start=1.0), other, 0)


def test_before_its_start_it_does_not_look_at_the_meta_batch() -> None:
    trainer = trainer_of()
    batch = trainer.data.train_batch(0)
    early = StepInfo(iteration=0, iterations=100, learning_rate=0.1)
    assert set(trainer.method.backward(trainer.model, batch, None, early)) == {"train_loss"}


def test_without_steps_on_epsilon_it_is_class_balanced_cross_entropy() -> None:
    other = make_trainer("class_balanced", {"beta": 0.99}, iterations=9, dtype=torch.float64)
    assert_same_training(trainer_of(iterations=9, start=0.0, epsilon_learning_rate=0.0), other, 1e-12)


class Table(torch.nn.Module):
    """Logits as parameters: image i has the i-th row."""

    def __init__(self, logits: NDArray[np.float64]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.from_numpy(logits.copy()))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[images.long()]


def residuals(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The gradient of each image's cross-entropy by its logits, [B, C]."""
    gradient = np.exp(log_softmax(logits))
    gradient[np.arange(len(labels)), labels] -= 1
    return gradient


@pytest.mark.parametrize("task", [COUNTS, EQUAL], ids=["long tail", "equal counts"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_the_formula(name: str, task: Any) -> None:
    logits, labels = CASES[name]
    rate, eta = LATE.learning_rate, 3.0
    model, method = Table(logits), CBDA({**BASE, "start": 0.8}, task)
    batch = Batch(torch.arange(len(labels)), torch.from_numpy(labels))
    found = method.backward(model, batch, batch, LATE)  # the same images as meta batch

    w = class_weights(task.counts.numpy().astype(float), 0.99)[labels]
    if task is EQUAL:
        np.testing.assert_allclose(w, 1, rtol=1e-12)
    gradient = residuals(logits, labels)
    ahead = logits - rate * w[:, None] * gradient
    # each row of the table is one image's own: dL_meta/d eps_i = -rate <grad l_i, grad L_meta>
    slope = -rate * (gradient * residuals(ahead, labels) / len(labels)).sum(1)
    factors = w - eta * slope
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found["train_loss"].item(), (factors * losses).mean(), rtol=1e-10, atol=1e-10)
    assert model.logits.grad is not None
    expected = factors[:, None] * gradient / len(labels)
    np.testing.assert_allclose(model.logits.grad.numpy(), expected, rtol=1e-10, atol=1e-10)


def test_the_loss_changes_at_the_beginning_of_an_epoch() -> None:
    trainer = trainer_of(start=0.5)  # iteration 10 of 20, in the middle of an epoch of 3
    trainer.run()
    ones = [all(weight == 1 for weight in row["weight"]) for row in trainer.history.rows]
    plain = [not row["meta_loss"] > 0 for row in trainer.history.rows]
    assert [row["iteration"] for row in trainer.history.rows] == [0, 3, 6, 9, 12, 15, 18, 20]
    assert ones == plain == [True] * 5 + [False] * 3
    weights = class_weights(np.array(SMALL_COUNTS, dtype=float), 0.99)
    np.testing.assert_allclose(trainer.history.rows[-1]["weight"], weights, rtol=1e-12)


def test_in_a_loop_without_epochs_the_loss_changes_at_its_step() -> None:
    trainer = trainer_of(start=0.5)
    data = trainer.data
    found = []
    for iteration in range(4):
        info = StepInfo(iteration=iteration, iterations=4, learning_rate=0.1)
        scalars = trainer.method.backward(trainer.model, data.train_batch(0), data.meta_batch(0), info)
        found.append("meta_loss" in scalars)
    assert found == [False, False, True, True]


@pytest.mark.parametrize("epoch", [0, 2])
def test_state_and_load_state_continue_to_the_same_bits(epoch: int) -> None:
    going, fresh = trainer_of(torch.float32, 12), trainer_of(torch.float32, 12)
    saved: list[dict[str, Any]] = []
    going.run(after_epoch=lambda trainer: saved.append(copy.deepcopy(trainer.state())))
    fresh.load_state(saved[epoch])
    assert fresh.method.weights().eq(1).all() == (epoch == 0)  # type: ignore[union-attr]
    fresh.run()
    pairs = zip(going.model.state_dict().values(), fresh.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert str(going.history.rows) == str(fresh.history.rows)


def test_a_training_lowers_the_loss_and_beats_chance_on_small_classes() -> None:
    schedule = Steps(start=0.1, peak=0.2, warmup=5, milestones=(25, 35))
    settings = {"beta": 0.99, "start": 0.5}
    trainer = make_trainer("cb_da", settings, iterations=40, noise=0.5, schedule=schedule)
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < 0.5 * rows[1]["train_loss"]
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / CLASSES
