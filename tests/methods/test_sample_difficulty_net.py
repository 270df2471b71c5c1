"""Sample-level Difficulty-Net against a naive loop (double backward, Adam by hand, float64); its batches."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.config.training import Steps
from longtail.methods.sample_difficulty_net import FullBatches, SampleDifficultyNet
from longtail.training.method import Batch, StepInfo
from longtail.training.samplers import ClassAwareSampler, ShuffledSampler
from longtail.training.trainer import Trainer
from tests.support.losses import CASES, COUNTS, log_softmax
from tests.support.naive_loop import NaiveAdam, NaiveLoop, distance
from tests.support.small_training import CLASSES, default_dtype, make_trainer

MOMENT = StepInfo(iteration=0, iterations=100, learning_rate=0.1)
STEPS = 20
BATCH = 16
BASE = {"hidden": 8, "learning_rate": 3e-2}  # large, so that theta matters within 20 steps
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "sum": {"driver_reduction": "sum"},
    "lambda 0": {"lambda": 0.0},
}


def trainer_of(dtype: torch.dtype = torch.float64, iterations: int = STEPS, **settings: Any) -> Trainer:
    trainer = make_trainer("sample_difficulty_net", {**BASE, **settings}, dtype=dtype, iterations=iterations)
    with default_dtype(dtype):  # D is made with the sampler: once more, in `dtype`
        trainer.method.sampler("shuffled", trainer.data.train.labels, BATCH)
    return trainer


def method_of(trainer: Trainer) -> SampleDifficultyNet:
    assert isinstance(trainer.method, SampleDifficultyNet)
    return trainer.method


class Reference(NaiveLoop):
    """Our reading of the ablation, one line after the other."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        method = method_of(trainer)
        self.settings = method.settings
        self.theta = [value.detach().clone().requires_grad_() for value in method.net.parameters()]
        self.adam = NaiveAdam(self.theta, self.settings.learning_rate, self.settings.weight_decay)
        self.inputs_follow_phi = False

    def difficulty(self, values: Tensor) -> Tensor:
        w1, w2, w3 = self.theta
        return torch.sigmoid(w3 @ torch.relu(w2 @ torch.relu(w1 @ values)))

    def weighted(self, losses: Tensor, labels: Tensor) -> Tensor:
        d = self.difficulty(losses if self.inputs_follow_phi else losses.detach())
        return (BATCH * d / d.sum() * losses).mean()

    def driver(self, losses: Tensor) -> Tensor:
        q = (-losses).exp()
        squares = (1 - q / q.sum() - self.difficulty(losses)) ** 2
        return squares.mean() if self.settings.driver_reduction == "mean" else squares.sum()

    def theta_gradients(self, losses: Tensor, rate: float) -> tuple[list[Tensor], list[Tensor]]:
        """Both parts, of losses [B] at phi."""
        driver = torch.autograd.grad(self.settings.lambda_ * self.driver(losses.detach()), self.theta)
        return list(driver), list(torch.autograd.grad(self.meta_loss(self.weighted, rate), self.theta))

    def iterate(self, rate: float) -> None:
        losses, labels = self.losses()
        driver, through = self.theta_gradients(losses, rate)
        self.adam.step([one + other for one, other in zip(driver, through, strict=True)])
        self.descend(self.weighted(losses, labels), rate)


def flat(tensors: list[Any]) -> Tensor:
    return torch.cat([value.flatten() for value in tensors])


def theta_gradient(**settings: Any) -> tuple[Tensor, Reference, dict[str, Tensor]]:
    """What Adam is given in the first step, flat; the reference before it, and the scalars."""
    trainer = trainer_of(**settings)
    reference = Reference(trainer)
    data = trainer.data
    trainer.model.train()
    scalars = trainer.method.backward(trainer.model, data.train_batch(0), data.meta_batch(0), MOMENT)
    return flat([value.grad for value in method_of(trainer).net.parameters()]), reference, scalars


@pytest.mark.parametrize("name", VARIANTS)
def test_theta_gets_the_gradient_of_double_backward_and_of_the_driver(name: str) -> None:
    found, reference, scalars = theta_gradient(**VARIANTS[name])
    driver, through = (flat(part) for part in reference.theta_gradients(reference.losses()[0], 0.1))
    assert through.norm() > 1e-6
    assert distance(found, driver + through) < 1e-10
    assert float(scalars["grad_norm_driver"]) == pytest.approx(float(driver.norm()), rel=1e-10)
    assert float(scalars["grad_norm_meta"]) == pytest.approx(float(through.norm()), rel=1e-10)
    assert (driver.norm() > 1e-6) == (name != "lambda 0")


def test_losses_that_moved_with_phi_inside_the_network_would_be_noticed() -> None:
    found, reference, _ = theta_gradient(**{"lambda": 0.0})
    reference.inputs_follow_phi = True
    _, through = reference.theta_gradients(reference.losses()[0], 0.1)
    assert distance(found, flat(through)) > 1e-2


@cache
def run_reference(name: str) -> Reference:
    """The loop, to its end; not to be changed afterwards."""
    reference = Reference(trainer_of(**VARIANTS[name]))
    reference.run()
    return reference


@pytest.mark.parametrize("name", ["as published", "sum"])
def test_twenty_steps_equal_the_naive_loop(name: str) -> None:
    trainer = trainer_of(**VARIANTS[name])
    start = flat(list(method_of(trainer).net.parameters())).detach().clone()
    trainer.run()
    reference = run_reference(name)
    reference.assert_same_model(trainer.model)
    end = flat(reference.theta)
    torch.testing.assert_close(flat(list(method_of(trainer).net.parameters())), end, rtol=1e-8, atol=1e-8)
    assert (end - start).norm() > 1e-2  # theta has moved


@pytest.mark.parametrize(
    "change",
    [{"lambda": 0.31}, {"driver_reduction": "sum"}, {"weight_decay": 0.0}, {"learning_rate": 2.9e-2}],
    ids=str,
)
def test_a_loop_with_another_setting_would_be_noticed(change: dict[str, Any]) -> None:
    trainer = trainer_of(**change)
    trainer.run()
    with pytest.raises(AssertionError):
        run_reference("as published").assert_same_model(trainer.model)


def cross_entropies(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return -log_softmax(logits)[np.arange(len(labels)), labels]


class Table(torch.nn.Module):
    """Logits as parameters: image i has the i-th row."""

    def __init__(self, logits: NDArray[np.float64]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.from_numpy(logits.copy()))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[images.long()]


@pytest.mark.parametrize("name", CASES)
def test_loss_and_driver_are_those_of_the_formula(name: str) -> None:
    logits, labels = CASES[name]
    with default_dtype(torch.float64):
        # theta must stay, for the loss is that after its step
        method = SampleDifficultyNet({**BASE, "learning_rate": 1e-300, "lambda": 0.3}, COUNTS)
        method.sampler("shuffled", torch.from_numpy(labels), len(labels))
    w1, w2, w3 = (value.detach().numpy().copy() for value in method.net.parameters())
    batch = Batch(torch.arange(len(labels)), torch.from_numpy(labels))
    model = Table(logits)
    found = method.backward(model, batch, batch, MOMENT)

    losses = cross_entropies(logits, labels)
    out = w3 @ np.maximum(w2 @ np.maximum(w1 @ losses, 0), 0)
    d = np.exp(-np.logaddexp(0, -out))
    weights = len(d) * d / d.sum()
    q = np.exp(-losses)
    driver = ((1 - q / (q.sum() + 1e-12) - d) ** 2).mean()
    np.testing.assert_allclose(found["train_loss"].item(), (weights * losses).mean(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found["driver_loss"].item(), driver, rtol=1e-10, atol=1e-10)
    assert all(torch.isfinite(value) for value in found.values())
    assert model.logits.grad is not None
    p = np.exp(log_softmax(logits))
    p[np.arange(len(labels)), labels] -= 1
    np.testing.assert_allclose(
        model.logits.grad.numpy(), weights[:, None] * p / len(labels), rtol=1e-10, atol=1e-10
    )


def test_the_order_of_images_matters_to_the_network() -> None:
    method = method_of(trainer_of())
    losses = torch.linspace(0.1, 3, BATCH, dtype=torch.float64)
    one, other = method.net(losses), method.net(losses.flip(0)).flip(0)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("images", [48, 41, 16])
def test_an_epoch_has_full_batches_only_and_no_image_twice(images: int) -> None:
    shuffled = ShuffledSampler(images, BATCH, seed=1)
    batches = FullBatches(shuffled)
    assert batches.batches_per_epoch == images // BATCH
    orders = []
    for epoch in range(3):
        first = epoch * batches.batches_per_epoch
        order = torch.cat([batches.batch(first + i) for i in range(batches.batches_per_epoch)])
        assert order.numel() == order.unique().numel() == images // BATCH * BATCH
        whole = range(epoch * shuffled.batches_per_epoch, (epoch + 1) * shuffled.batches_per_epoch)
        expected = torch.cat([shuffled.batch(i) for i in whole])
        assert torch.equal(order, expected[: order.numel()])
        orders.append(order)
    assert not torch.equal(orders[0], orders[1])


def test_fewer_images_than_a_batch_make_one_batch_of_all_and_a_network_for_it() -> None:
    trainer = make_trainer("sample_difficulty_net", BASE, batch_size=64, iterations=3)
    assert trainer.data.batches_per_epoch == 1
    assert method_of(trainer).net.layers[0].in_features == 41
    trainer.run()
    assert [row["iteration"] for row in trainer.history.rows] == [0, 1, 2, 3]


def test_other_samplers_lose_their_short_batch_too() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([7, 3, 1]))
    batches = FullBatches(ClassAwareSampler(labels, 8, seed=1))  # an epoch of 21
    assert batches.batches_per_epoch == 2
    assert all(batches.batch(i).numel() == 8 for i in range(6))


def test_state_and_load_state_continue_to_the_same_bits() -> None:
    going, fresh = trainer_of(torch.float32, 9), trainer_of(torch.float32, 9)
    saved: list[dict[str, Any]] = []
    going.run(after_epoch=lambda trainer: saved.append(copy.deepcopy(trainer.state())))
    fresh.load_state(saved[0])
    fresh.run()
    assert 0 < saved[0]["iteration"] < 9
    for one, other in zip(
        [*going.model.state_dict().values(), *method_of(going).net.parameters()],
        [*fresh.model.state_dict().values(), *method_of(fresh).net.parameters()],
        strict=True,
    ):
        assert torch.equal(one, other)
    assert str(going.history.rows) == str(fresh.history.rows)


def test_there_are_no_class_weights_in_the_history() -> None:
    trainer = trainer_of(iterations=3)
    trainer.run()
    assert all(row["weight"] is None and row["difficulty"] is None for row in trainer.history.rows)


def test_a_training_lowers_the_loss_and_beats_chance_on_small_classes() -> None:
    schedule = Steps(start=0.1, peak=0.2, warmup=5, milestones=(25, 35))
    settings = {"learning_rate": 3e-3}
    trainer = make_trainer("sample_difficulty_net", settings, iterations=40, noise=0.5, schedule=schedule)
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < 0.5 * rows[1]["train_loss"]
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / CLASSES
