"""BALMS: the meta sampler's draws and its exact gradient, a naive loop, Balanced Softmax as its limit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.methods.balms import BALMS, MetaSampler, initial_logits
from longtail.networks.heads import WithHead
from longtail.randomness import numpy_generator
from longtail.training.batches import TrainingData
from longtail.training.image_sets import View
from longtail.training.method import Task
from longtail.training.samplers import ShuffledSampler
from longtail.training.trainer import Trainer
from tests.support.heads import (
    RATE,
    assert_it_learns_the_class_of_one_image,
    changed,
    frozen_features,
    losses_before_and_after,
    make_head_trainer,
    model_of,
    retrain,
)
from tests.support.losses import CASES, check_gradient, found_losses
from tests.support.losses import COUNTS as LOSS_TASK
from tests.support.small_training import COUNTS, TRAINING, labels_of

LABELS = labels_of(COUNTS)
LOGITS = torch.tensor([-1.0, 0.5, 0.2, 2.0], dtype=torch.float64)
STEPS = 12


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_balanced_softmax(name: str) -> None:
    logits, labels = CASES[name]
    n = LOSS_TASK.counts.numpy().astype(float)
    largest = logits.max(1)
    scaled = n * np.exp(logits - largest[:, None])
    expected = np.log(scaled.sum(1)) - np.log(n[labels]) - logits[np.arange(len(labels)), labels] + largest
    np.testing.assert_allclose(found_losses(BALMS({}, LOSS_TASK), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(BALMS({}, LOSS_TASK))


@pytest.mark.parametrize("kappa", [0.0, 0.1, 0.3, 1.0])
def test_the_first_rates_are_those_of_the_release(kappa: float) -> None:
    r = [(n / sum(COUNTS)) ** -kappa for n in COUNTS]
    expected = [value / (min(r) + max(r)) for value in r]
    found = torch.sigmoid(initial_logits(torch.tensor(COUNTS), kappa)).tolist()
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] + found[-1] == pytest.approx(1, rel=1e-12)
    if kappa == 0:
        assert found == [0.5] * 4


def test_images_are_drawn_in_proportion_to_the_rate_of_their_class() -> None:
    draws = 40_000
    found = torch.bincount(MetaSampler(LABELS, draws, 1, LOGITS).batch(0), minlength=len(LABELS)) / draws
    rate = torch.sigmoid(LOGITS)[LABELS]
    share = rate / rate.sum()
    deviation = (share * (1 - share) / draws).sqrt()
    assert ((found - share).abs() < 4.5 * deviation).all()
    assert share.max() > 3 * share.min()


def test_an_epoch_is_one_pass_long_and_draws_depend_on_seed_iteration_and_rates() -> None:
    sampler = MetaSampler(LABELS, 16, 1, LOGITS.clone())
    assert sampler.batches_per_epoch == 3  # of 41 images
    first = sampler.batch(0)
    assert first.shape == (16,)
    assert not torch.equal(first, sampler.batch(1))
    assert torch.equal(first, sampler.batch(0))
    assert not torch.equal(first, MetaSampler(LABELS, 16, 2, LOGITS).batch(0))
    sampler.logits.copy_(torch.tensor([-1e3, -1e3, -1e3, 1e3]))
    assert (LABELS[sampler.batch(0)] == 3).all()


def test_images_in_any_order_are_drawn_by_class_and_alike_within_one() -> None:
    mixed = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(3))
    draws = 40_000
    own = MetaSampler(LABELS[mixed], draws, 1, LOGITS).batch(0)
    assert torch.equal(LABELS[mixed][own], LABELS[MetaSampler(LABELS, draws, 1, LOGITS).batch(0)])
    found = torch.bincount(own, minlength=len(LABELS)) / draws
    rate = torch.sigmoid(LOGITS)[LABELS[mixed]]
    share = rate / rate.sum()
    assert ((found - share).abs() < 4.5 * (share * (1 - share) / draws).sqrt()).all()


def test_a_class_without_images_is_never_drawn() -> None:
    logits = torch.cat([LOGITS, torch.tensor([50.0])])
    sampler = MetaSampler(LABELS, 16, 1, logits.requires_grad_())
    labels = LABELS[sampler.batch(0)]
    assert torch.equal(sampler.batch(0), MetaSampler(LABELS, 16, 1, LOGITS).batch(0))
    expected = MetaSampler(LABELS, 16, 1, LOGITS).soft(0, labels)
    torch.testing.assert_close(sampler.soft(0, labels).detach(), expected, rtol=1e-12, atol=0)


def test_noise_made_ahead_is_the_same() -> None:
    plain, ahead = (MetaSampler(LABELS, 16, 1, LOGITS, ahead=number) for number in (0, 3))
    for iteration in (0, 1, 2, 7, 8, 3, 4):  # as after a resume
        assert torch.equal(plain.batch(iteration), ahead.batch(iteration))
        assert [*ahead._coming] == [iteration + 1, iteration + 2, iteration + 3]
    assert plain._coming == {}


def naive_noise(iteration: int, batch_size: int) -> Tensor:
    """[B, N]."""
    draws = numpy_generator(1, "gumbel", iteration).standard_exponential((batch_size, len(LABELS)))
    return -torch.from_numpy(draws).log()


def straight_through(logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Drawn images and their weights, by a softmax over all images."""
    rho = torch.sigmoid(logits)[LABELS]
    scores = torch.log(rho / rho.sum()) + noise
    soft = torch.softmax(scores, dim=1)
    drawn = scores.argmax(dim=1)
    hard = F.one_hot(drawn, len(LABELS))
    return drawn, (hard - soft.detach() + soft).gather(1, drawn[:, None])[:, 0]


def test_soft_draws_and_their_gradient_are_those_of_a_softmax_over_all_images() -> None:
    logits = LOGITS.clone().requires_grad_()
    sampler = MetaSampler(LABELS, 16, 1, logits)
    up = torch.randn(16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    drawn, weights = straight_through(logits, naive_noise(5, 16))
    (expected,) = torch.autograd.grad(weights, logits, up)
    assert torch.equal(sampler.batch(5), drawn)
    (found,) = torch.autograd.grad(sampler.soft(5, LABELS[drawn]), logits, up)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-15)
    assert expected.norm() > 1e-3
    # a common factor of all rates changes no draw: d/d log rho = (d/du) / (1 - rho) adds up to nothing
    assert float((found / (1 - torch.sigmoid(LOGITS))).sum()) == pytest.approx(0, abs=1e-14)


def test_rates_of_almost_zero_stay_finite() -> None:
    logits = torch.tensor([0.0, -1e4, 30.0, -50.0]).requires_grad_()
    sampler = MetaSampler(LABELS, 16, 1, logits)
    labels = LABELS[sampler.batch(0)]
    assert not (labels == 1).any()
    soft = sampler.soft(0, labels)
    (gradient,) = torch.autograd.grad(soft.sum(), logits)
    assert torch.isfinite(soft).all()
    assert torch.isfinite(gradient).all()


class Reference:
    """The algorithm in autograd alone: [B, N] softmax, differentiable step, Adam by hand."""

    def __init__(self, trainer: Trainer, learning_rate: float = 0.01, temperature: float = 1.0) -> None:
        self.model = copy.deepcopy(model_of(trainer))
        self.data, self.nesterov = trainer.data, trainer.training.nesterov
        self.learning_rate, self.temperature = learning_rate, temperature
        assert isinstance(trainer.method, BALMS)
        self.logits = trainer.method.logits.detach().clone().requires_grad_()
        self.phi = [value for value in self.model.parameters() if value.requires_grad]
        self.buffers = [torch.zeros_like(value) for value in self.phi]
        self.first, self.second = torch.zeros_like(self.logits), torch.zeros_like(self.logits)
        self.meta_losses: list[float] = []

    def features(self, images: Tensor) -> Tensor:
        return frozen_features(self.model, images)

    def losses(self, features: Tensor, labels: Tensor) -> Tensor:
        """-log(n_y e^{z_y} / sum_c n_c e^{z_c}) with the prior of the data set."""
        weight, bias = self.phi
        z = features @ weight.T + bias + torch.tensor(COUNTS, dtype=torch.float64).log()
        return torch.logsumexp(z, 1) - z[torch.arange(len(labels)), labels]

    def moves(self, gradients: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """What SGD subtracts, over the learning rate, and its next buffers."""
        momentum, decay = TRAINING.momentum, TRAINING.weight_decay
        gradients = tuple(g + decay * p for g, p in zip(gradients, self.phi, strict=True))
        buffers = [momentum * b + g for b, g in zip(self.buffers, gradients, strict=True)]
        if self.nesterov:
            return [g + momentum * b for b, g in zip(buffers, gradients, strict=True)], buffers
        return buffers, buffers

    def batch(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features, labels and straight-through weights."""
        noise = naive_noise(iteration, TRAINING.batch_size)
        drawn, weights = straight_through(self.logits, noise / self.temperature)
        pixels, labels = self.data.train.view(View(drawn, TRAINING.augment, 1, "augment", iteration))
        return self.features(pixels), labels, weights

    def gradient(self, iteration: int, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Of the meta loss, to u."""
        features, labels, weights = batch
        inner = (weights * self.losses(features, labels)).mean()
        moves, _ = self.moves(torch.autograd.grad(inner, self.phi, create_graph=True))
        weight, bias = (p - RATE * move for p, move in zip(self.phi, moves, strict=True))
        meta = self.data.meta_batch(iteration)
        z = self.features(meta.images) @ weight.T + bias
        loss = (torch.logsumexp(z, 1) - z[torch.arange(len(z)), meta.labels]).mean()
        self.meta_losses.append(loss.item())
        return torch.autograd.grad(loss, self.logits)[0]

    def iterate(self, iteration: int) -> None:
        batch = self.batch(iteration)
        gradient = self.gradient(iteration, batch)
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        t = iteration + 1
        mean, square = self.first / (1 - 0.9**t), self.second / (1 - 0.999**t)
        moves, self.buffers = self.moves(
            torch.autograd.grad(self.losses(*batch[:2]).mean(), self.phi, retain_graph=True)
        )
        with torch.no_grad():
            self.logits -= self.learning_rate * mean / (square.sqrt() + 1e-8)
            for value, move in zip(self.phi, moves, strict=True):
                value -= RATE * move

    def run(self) -> Reference:
        for iteration in range(STEPS):
            self.iterate(iteration)
        return self


def trainer_of(settings: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    return make_head_trainer("balms", settings, dtype=torch.float64, **{"iterations": STEPS, **changes})


def method_of(trainer: Trainer) -> BALMS:
    assert isinstance(trainer.method, BALMS)
    return trainer.method


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_gradient_of_the_rates_is_that_of_double_backward(nesterov: bool) -> None:
    trainer = trainer_of({"kappa": 0.3}, nesterov=nesterov, iterations=5)
    trainer.run()  # momentum is not empty
    trainer.training = trainer.training.model_copy(update={"iterations": 6})
    reference = Reference(trainer)
    reference.buffers = [buffer for buffer in trainer.optimiser.buffers if buffer is not None]
    expected = reference.gradient(5, reference.batch(5))
    buffers, reference.buffers = reference.buffers, [0 * buffer for buffer in reference.buffers]
    without_momentum = reference.gradient(5, reference.batch(5))
    reference.buffers, reference.temperature = buffers, 1.001
    other_temperature = reference.gradient(5, reference.batch(5))
    trainer.run()
    found = method_of(trainer).logits.grad
    assert found is not None
    assert expected.norm() > 1e-5
    assert distance(found, expected) < 1e-10
    assert distance(without_momentum, expected) > 1e-3
    assert distance(other_temperature, expected) > 1e-6


def assert_equal(trainer: Trainer, reference: Reference, tolerance: float) -> None:
    pairs = zip([*model_of(trainer).head.parameters()], reference.phi, strict=True)
    for found, expected in [*pairs, (method_of(trainer).logits, reference.logits)]:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


SETTINGS: dict[str, dict[str, Any]] = {
    "as released on CIFAR": {},
    "head start": {"kappa": 0.3, "learning_rate": 0.1},
    "held-out meta batches": {"meta_set": "held_out"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_training_equals_the_naive_loop(name: str) -> None:
    trainer = trainer_of(SETTINGS[name])
    reference = Reference(trainer, SETTINGS[name].get("learning_rate", 0.01)).run()
    start = method_of(trainer).logits.detach().clone()
    trainer.run()
    assert_equal(trainer, reference, 1e-8)
    assert (reference.logits - start).norm() > 1e-2
    last = trainer.history.rows[-1]
    assert last["meta_loss"] == pytest.approx(sum(reference.meta_losses[-3:]) / 3, rel=1e-8)
    rho = torch.sigmoid(reference.logits.detach())
    assert last["weight"] == pytest.approx((4 * rho / rho.sum()).tolist(), rel=1e-8)


@pytest.mark.parametrize("change", [{"kappa": 0.001}, {"learning_rate": 0.011}, {"meta_set": "held_out"}])
def test_a_loop_with_another_setting_would_be_noticed(change: dict[str, Any]) -> None:
    reference = Reference(trainer_of()).run()
    trainer = trainer_of(change)
    trainer.run()
    with pytest.raises(AssertionError):
        assert_equal(trainer, reference, 1e-8)


def test_without_the_meta_sampler_it_is_balanced_softmax_on_shuffled_images() -> None:
    trainer = make_head_trainer("balms", {"meta_sampler": False})
    task = trainer.method.task
    model = WithHead(copy.deepcopy(model_of(trainer).network), copy.deepcopy(model_of(trainer).head))
    method, data, training = BalancedSoftmax({}, task), trainer.data, trainer.training
    plain = Trainer(model, method, TrainingData(data.train, data.meta, training, method, 1), training, 4)
    assert isinstance(trainer.data.sampler, ShuffledSampler)
    trainer.run()
    plain.run()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name
    assert trainer.method.weights() is None


def test_a_new_classifier_is_trained_and_nothing_else() -> None:
    before, model, trainer = retrain("balms")
    assert changed(before, model) == {"head.weight", "head.bias"}
    assert not torch.equal(before["head.weight"], before["network.classifier.weight"])
    images = trainer.data.meta.pixels
    features = frozen_features(model, images)
    head = model.head.state_dict()
    torch.testing.assert_close(model(images), features @ head["weight"].T + head["bias"])
    same, other = (make_head_trainer("balms", seed=seed).model.state_dict() for seed in (1, 2))
    assert torch.equal(same["head.weight"], before["head.weight"])
    assert not torch.equal(other["head.weight"], before["head.weight"])


def test_meta_batches_are_class_balanced_training_images_or_the_meta_set() -> None:
    drawn = trainer_of(augment="none", meta_batch_size=8).data
    batch = drawn.meta_batch(0)
    assert torch.bincount(batch.labels).tolist() == [2, 2, 2, 2]
    assert all((image == drawn.train.pixels).flatten(1).all(1).any() for image in batch.images)
    held_out = trainer_of({"meta_set": "held_out"}).data
    assert all(
        (image == held_out.meta.pixels).flatten(1).all(1).any() for image in held_out.meta_batch(0).images
    )


def test_training_lowers_the_loss_and_learns_the_class_of_one_image() -> None:
    trainer = make_head_trainer("balms", {"kappa": 0.3})  # as on digits-LT
    before, after = losses_before_and_after(trainer)
    assert after < 0.3 * before
    assert_it_learns_the_class_of_one_image(trainer)


def test_a_resumed_training_continues_to_the_same_bits() -> None:
    states: list[dict[str, Any]] = []
    whole = make_head_trainer("balms", iterations=12)
    whole.run(after_epoch=lambda now: states.append(copy.deepcopy(now.state())))
    resumed = make_head_trainer("balms", iterations=12)
    resumed.load_state(states[1])
    assert resumed.iteration == 6
    resumed.run()
    one, other = method_of(whole), method_of(resumed)
    assert torch.equal(one.logits, other.logits)
    assert all(map(torch.equal, one.optimiser.squares, other.optimiser.squares))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert repr(resumed.history.rows) == repr(whole.history.rows)  # NaN is not NaN


def test_the_rates_are_on_the_device_and_of_the_default_precision() -> None:
    method = BALMS({}, Task(counts=torch.tensor(COUNTS), seed=1, imbalance=24))
    assert method.logits.dtype == torch.float32
    assert method.logits.device == method.task.device
