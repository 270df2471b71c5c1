"""The three-step algorithm against a naive loop: double backward, Adam and SGD by hand, in float64."""

import copy
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.config.presets.difficulty_net import PRESET
from longtail.methods.difficulty_net import DifficultyNetMethod
from longtail.training.method import StepInfo
from longtail.training.trainer import Trainer
from tests.support.naive_loop import NaiveAdam, NaiveLoop, distance, plain
from tests.support.small_training import CLASSES, COUNTS, make_trainer

MOMENT = StepInfo(iteration=0, iterations=100, learning_rate=0.1)

STEPS = 20
LEARNING_RATE = 3e-2  # of Adam: large, so that theta matters within 20 steps
BASE = {"hidden": 8, "learning_rate": LEARNING_RATE}
LOG_COUNTS = torch.tensor(COUNTS, dtype=torch.float64).log()


def trainer_of(dtype: torch.dtype = torch.float64, iterations: int = STEPS, **settings: Any) -> Trainer:
    return make_trainer("difficulty_net", {**BASE, **settings}, dtype=dtype, iterations=iterations)


def method_of(trainer: Trainer) -> DifficultyNetMethod:
    assert isinstance(trainer.method, DifficultyNetMethod)
    return trainer.method


class Reference(NaiveLoop):
    """Eqs. 1-11, one line after the other."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        self.settings = method_of(trainer).settings
        self.theta = [value.detach().clone().requires_grad_() for value in method_of(trainer).theta]
        self.adam = NaiveAdam(self.theta, self.settings.learning_rate, self.settings.weight_decay)
        self.norms: list[tuple[float, float]] = []
        self.meta_losses: list[float] = []

    def difficulty(self) -> Tensor:
        """Eq. 1."""
        w1, w2, w3 = self.theta
        if self.settings.difficulty == "relative":
            return torch.sigmoid(w3 @ torch.relu(w2 @ torch.relu(w1 @ self.accuracy)))
        hidden = torch.relu(w1 @ self.accuracy[None])  # [hidden, C]
        return torch.sigmoid(w3 @ torch.relu(w2 @ hidden))[0]

    def weights(self) -> Tensor:
        """Eq. 4."""
        difficulty = self.difficulty()
        return CLASSES * difficulty / difficulty.sum()

    def weighted(self, losses: Tensor, labels: Tensor) -> Tensor:
        """Eq. 5."""
        weights = self.weights()[labels]
        if self.settings.weighting == "averaged":
            return losses.mean() * weights.mean()
        return (weights * losses).mean()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L of Eq. 5."""
        return plain(logits + LOG_COUNTS if self.settings.loss == "balanced_softmax" else logits, labels)

    def outer(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L_meta of Eq. 8, image by image."""
        return plain(logits + LOG_COUNTS if self.settings.meta_loss == "balanced_softmax" else logits, labels)

    def run(self) -> None:
        """From accuracies of 0, or measured."""
        if self.settings.first_accuracies == "measured":
            self.refresh()
        super().run()

    def driver(self) -> Tensor:
        """Eq. 7."""
        squares = (1 - self.accuracy / (self.accuracy.sum() + 1e-12) - self.difficulty()) ** 2
        return squares.mean() if self.settings.driver_reduction == "mean" else squares.sum()

    def theta_gradients(self, rate: float) -> tuple[list[Tensor], list[Tensor], float]:
        """Both parts of the gradient of Eq. 8, and the loss on the meta batch."""
        scale = self.settings.lambda_ if self.settings.driver_loss else 0
        driver = torch.autograd.grad(scale * self.driver(), self.theta)
        loss = self.meta_loss(self.weighted, rate)
        through = torch.autograd.grad(loss, self.theta)
        if self.settings.meta_gradient == "detached":
            through = [torch.zeros_like(g) for g in through]
        return list(driver), list(through), loss.item()

    def iterate(self, rate: float) -> None:
        """One iteration."""
        driver, through, meta_loss = self.theta_gradients(rate)
        self.norms.append((norm(driver), norm(through)))
        self.meta_losses.append(meta_loss)
        self.adam.step([d + t for d, t in zip(driver, through, strict=True)])
        self.descend(self.weighted(*self.losses()), rate)


def norm(gradients: list[Tensor]) -> float:
    return sum(float((g * g).sum()) for g in gradients) ** 0.5


@cache
def run_reference(name: str) -> Reference:
    """The loop, to its end; not to be changed afterwards."""
    reference = Reference(trainer_of(**VARIANTS[name]))
    reference.run()
    return reference


VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "sum": {"driver_reduction": "sum"},
    "absolute": {"difficulty": "absolute"},
    "absolute, sum": {"difficulty": "absolute", "driver_reduction": "sum"},
    "balanced": {"loss": "balanced_softmax"},
    "balanced, absolute, sum": {
        "loss": "balanced_softmax",
        "difficulty": "absolute",
        "driver_reduction": "sum",
    },
    "lambda 1, no driver loss": {"lambda": 1.0, "driver_loss": False},
    "averaged": {"weighting": "averaged"},
    "balanced, and its meta loss": {"loss": "balanced_softmax", "meta_loss": "balanced_softmax"},
    "detached": dict(PRESET.variants["difficulty_net_detached"]),
    "balanced, as released": dict(PRESET.variants["difficulty_net_balanced_softmax_released"]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_twenty_steps_equal_the_naive_loop(name: str) -> None:
    trainer = trainer_of(**VARIANTS[name])
    reference = run_reference(name)
    start = [value.detach().clone() for value in method_of(trainer).theta]
    trainer.run()
    reference.assert_same_model(trainer.model)
    for value, expected, before in zip(method_of(trainer).theta, reference.theta, start, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)
        assert (expected - before).norm() > 1e-3  # theta has moved
    last = trainer.history.rows[-1]
    torch.testing.assert_close(torch.tensor(last["weight"]).double(), reference.weights().detach())
    assert max(last["weight"]) - min(last["weight"]) > 1e-4


@pytest.mark.parametrize(
    "change",
    [
        {"lambda": 0.31},
        {"difficulty": "absolute"},
        {"driver_reduction": "sum"},
        {"loss": "balanced_softmax"},
        {"meta_gradient": "detached"},
        {"weighting": "averaged"},
        {"meta_loss": "balanced_softmax"},
        {"weight_decay": 0.0},
    ],
    ids=str,
)
def test_a_loop_with_another_setting_would_be_noticed(change: dict[str, Any]) -> None:
    trainer = trainer_of(**change)
    reference = run_reference("as published")
    trainer.run()
    with pytest.raises(AssertionError):
        reference.assert_same_model(trainer.model)


def test_the_history_has_the_losses_and_both_gradient_norms_of_the_loop() -> None:
    trainer, reference = trainer_of(), run_reference("as published")
    trainer.run()
    per_epoch = -(-sum(COUNTS) // 16)
    assert len(trainer.history.rows) == 1 + -(-STEPS // per_epoch)
    for epoch, row in enumerate(trainer.history.rows[1:]):
        part = slice(epoch * per_epoch, min((epoch + 1) * per_epoch, STEPS))
        driver, meta = zip(*reference.norms[part], strict=True)
        assert row["grad_norm_driver"] == pytest.approx(sum(driver) / len(driver), rel=1e-7)
        assert row["grad_norm_meta"] == pytest.approx(sum(meta) / len(meta), rel=1e-7)
        losses = reference.meta_losses[part]
        assert row["meta_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-7)
    first, last = trainer.history.rows[1], trainer.history.rows[-1]
    assert first["grad_norm_meta"] == first["grad_norm_driver"] == 0  # D(0) = 1/2 whatever theta is
    assert last["grad_norm_meta"] > 0
    assert last["grad_norm_driver"] > 0


ACCURACY = torch.tensor([0.9, 0.6, 0.4, 0.1], dtype=torch.float64)


def theta_gradient(**settings: Any) -> tuple[list[Tensor], Reference, Trainer]:
    """What Adam is given in one step after a refresh, the reference beside it."""
    trainer = trainer_of(**settings)
    trainer.method.refresh(ACCURACY)
    trainer.model.train()
    reference = Reference(trainer)
    reference.accuracy = ACCURACY
    data = trainer.data
    trainer.method.backward(trainer.model, data.train_batch(0), data.meta_batch(0), MOMENT)
    gradients = [value.grad for value in method_of(trainer).theta]
    return [gradient for gradient in gradients if gradient is not None], reference, trainer


def test_after_a_refresh_theta_gets_the_sum_of_both_parts_and_neither_is_zero() -> None:
    found, reference, _ = theta_gradient()
    driver, through, _ = reference.theta_gradients(0.1)
    for gradient, one, other in zip(found, driver, through, strict=True):
        torch.testing.assert_close(gradient, one + other, rtol=1e-9, atol=1e-15)
        assert one.norm() > 1e-6
        assert other.norm() > 1e-6


def test_detached_theta_gets_the_driver_gradient_only() -> None:
    found, reference, _ = theta_gradient(meta_gradient="detached")
    driver, _, _ = reference.theta_gradients(0.1)
    for gradient, expected in zip(found, driver, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-18)
    trainer = trainer_of(meta_gradient="detached", iterations=3)
    trainer.run()
    assert math.isnan(trainer.history.rows[-1]["meta_loss"])
    assert math.isnan(trainer.history.rows[-1]["grad_norm_meta"])


def test_detached_with_lambda_zero_theta_gets_exactly_nothing() -> None:
    found, _, _ = theta_gradient(**{"meta_gradient": "detached", "lambda": 0.0})
    assert len(found) == 3
    assert all((gradient == 0).all() for gradient in found)


def test_exact_with_lambda_zero_theta_gets_the_meta_gradient_only() -> None:
    found, reference, _ = theta_gradient(**{"lambda": 0.0})
    _, through, _ = reference.theta_gradients(0.1)
    for gradient, expected in zip(found, through, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-18)
        assert expected.norm() > 1e-6


def test_without_driver_loss_it_trains_as_with_lambda_zero() -> None:
    one = trainer_of(driver_loss=False, iterations=9)
    other = trainer_of(**{"lambda": 0.0, "iterations": 9})
    one.run()
    other.run()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert one.history.rows[-1]["weight"] == other.history.rows[-1]["weight"]


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax"])
def test_every_sample_keeps_its_own_weight(loss: str) -> None:
    _, reference, trainer = theta_gradient(loss=loss)
    labels = reference.data.train_batch(0).labels
    reference.theta = [value.detach() for value in method_of(trainer).theta]  # step 3 has the new theta
    weights = reference.weights()[labels]
    losses, _ = reference.losses()
    values = list(reference.model.parameters())
    own = torch.autograd.grad((weights * losses).mean(), values, retain_graph=True)
    blurred = torch.autograd.grad(weights.mean() * losses.mean(), values)
    found = [value.grad for value in trainer.model.parameters() if value.grad is not None]
    for gradient, expected in zip(found, own, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    far = [float((a - b).norm() / a.norm()) for a, b in zip(own, blurred, strict=True)]
    assert max(far) > 1e-3


def test_as_released_with_balanced_softmax_theta_gets_the_driver_and_the_weights_are_averaged_away() -> None:
    found, reference, trainer = theta_gradient(**PRESET.variants["difficulty_net_balanced_softmax_released"])
    for gradient, expected in zip(found, reference.theta_gradients(0.1)[0], strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-18)
    reference.theta = [value.detach() for value in method_of(trainer).theta]
    losses, labels = reference.losses()
    weight = reference.weights()[labels].mean()
    assert abs(float(weight) - 1) > 1e-4
    unweighted = torch.autograd.grad(losses.mean(), list(reference.model.parameters()))
    for value, expected in zip(trainer.model.parameters(), unweighted, strict=True):
        # Balanced Softmax's own gradient, times one number
        torch.testing.assert_close(value.grad, weight * expected, rtol=1e-9, atol=1e-12)


def test_averaged_weights_get_the_gradient_of_double_backward() -> None:
    found, reference, _ = theta_gradient(**{"weighting": "averaged", "lambda": 0.0})
    _, through, _ = reference.theta_gradients(0.1)
    assert (
        distance(torch.cat([g.flatten() for g in found]), torch.cat([g.flatten() for g in through])) < 1e-10
    )
    assert norm(through) > 1e-8


def test_the_balanced_training_loss_has_the_log_of_the_counts_in_its_logits() -> None:
    trainer = trainer_of(loss="balanced_softmax")
    logits, labels = torch.randn(5, CLASSES, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3])
    expected = plain(logits + LOG_COUNTS, labels)
    torch.testing.assert_close(
        trainer.method.sample_losses(logits, labels, MOMENT), expected, rtol=1e-12, atol=0
    )


def test_state_and_load_state_continue_to_the_same_bits() -> None:
    going, fresh = trainer_of(torch.float32), trainer_of(torch.float32)
    going.method.refresh(ACCURACY)
    batches = going.data
    for iteration in range(3):
        going.method.backward(
            going.model, batches.train_batch(iteration), batches.meta_batch(iteration), MOMENT
        )
    fresh.method.load_state(copy.deepcopy(going.method.state()))
    fresh.model.load_state_dict(going.model.state_dict())
    for trainer in (going, fresh):
        trainer.model.zero_grad()
        batch, meta = batches.train_batch(3), batches.meta_batch(3)
        trainer.method.backward(trainer.model, batch, meta, MOMENT)
    assert torch.equal(method_of(going).weights(), method_of(fresh).weights())
    pairs = zip(
        [*going.model.parameters(), *method_of(going).theta],
        [*fresh.model.parameters(), *method_of(fresh).theta],
        strict=True,
    )
    for one, other in pairs:
        assert torch.equal(one, other)
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_no_gradient_of_the_look_ahead_reaches_the_step_of_phi_and_batchnorm_counts_once() -> None:
    _, _, trainer = theta_gradient()
    counts = [value for name, value in trainer.model.named_buffers() if "num_batches" in name]
    assert counts
    assert all(int(value) == 1 for value in counts)


def test_training_images_of_one_label_get_one_weight_and_weights_have_mean_one() -> None:
    trainer = trainer_of(iterations=6)
    trainer.run()
    for row in trainer.history.rows:
        assert sum(row["weight"]) / CLASSES == pytest.approx(1, rel=1e-12)
        scaled = [CLASSES * d / sum(row["difficulty"]) for d in row["difficulty"]]
        assert row["weight"] == pytest.approx(scaled, rel=1e-12)


def test_accuracies_can_be_measured_before_the_first_epoch() -> None:
    settings = {**BASE, "first_accuracies": "measured"}
    trainer, usual = (
        make_trainer("difficulty_net", own, dtype=torch.float64, iterations=STEPS, seed=2)
        for own in (settings, BASE)
    )
    reference = Reference(trainer)
    reference.run()
    trainer.run()
    reference.assert_same_model(trainer.model)
    usual.run()
    with pytest.raises(AssertionError):
        reference.assert_same_model(usual.model)


@pytest.mark.parametrize("benchmark", ["imagenet-lt", "places-lt"])
def test_the_released_rows_measure_at_first_and_share_the_loss_where_the_authors_code_does(
    benchmark: str,
) -> None:
    def settings(variant: str, name: str = benchmark) -> dict[str, Any]:
        return PRESET.resolve(variant, name, 256, {}, 0.3)

    released = "difficulty_net_balanced_softmax_released"
    assert settings(released)["meta_loss"] == settings(released)["loss"] == "balanced_softmax"
    for variant in ("difficulty_net_detached", released):
        assert settings(variant)["first_accuracies"] == "measured"
        assert settings(variant, "cifar100-lt")["first_accuracies"] == "zero"
    ours = settings("difficulty_net_balanced_softmax")
    assert (ours["meta_loss"], ours["first_accuracies"]) == ("cross_entropy", "zero")
