"""LADE: the released formula, Balanced Softmax for alpha = 0, and what follows for its regulariser."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from longtail.config.training import Steps
from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.methods.lade import LADE, density_ratio_regulariser
from longtail.training.method import Task
from longtail.training.trainer import predict
from tests.support.losses import CASES, CLASSES, COUNTS, EQUAL, MOMENT, check_gradient, log_softmax
from tests.support.small_training import make_trainer

SETTINGS = {"alpha": 0.3, "kappa": 0.05}


def log_mean_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def formula(name: str, counts: list[int], alpha: float, kappa: float) -> float:
    """Class by class, as METHODS writes it."""
    logits, labels = CASES[name]
    total, images = sum(counts), len(labels)
    prior = [n / total for n in counts]
    adjusted = logits + np.log(np.array(counts, dtype=float))
    loss = -log_softmax(adjusted)[np.arange(images), labels].mean()
    regulariser = 0.0
    for c in range(CLASSES):
        own = [float(logits[i, c]) for i in range(images) if labels[i] == c]
        mean = sum(own) / len(own) if own else 0.0
        shift = math.log(1 / CLASSES) - math.log(prior[c])
        log_mean = log_mean_exp([float(z) + shift for z in logits[:, c]])
        regulariser -= prior[c] * (mean - log_mean - kappa * log_mean**2)
    return loss + alpha * regulariser


def found_loss(settings: dict[str, Any], task: Task, name: str) -> float:
    logits, labels = CASES[name]
    loss = LADE(settings, task).batch_loss(torch.from_numpy(logits), torch.from_numpy(labels), MOMENT)
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    return float(loss)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("alpha", "kappa"), [(0.1, 0.01), (0.3, 0.0), (2.0, 0.5)])
@pytest.mark.parametrize("task", [COUNTS, EQUAL], ids=["tail", "equal counts"])
def test_the_loss_is_that_of_the_released_code(name: str, alpha: float, kappa: float, task: Task) -> None:
    expected = formula(name, task.counts.tolist(), alpha, kappa)
    found = found_loss({"alpha": alpha, "kappa": kappa}, task, name)
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_alpha_zero_is_balanced_softmax(name: str) -> None:
    logits, labels = (torch.from_numpy(part) for part in CASES[name])
    expected = BalancedSoftmax({}, COUNTS).batch_loss(logits, labels, MOMENT)
    assert found_loss({"alpha": 0.0}, COUNTS, name) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("task", [COUNTS, EQUAL], ids=["tail", "equal counts"])
def test_its_gradient_is_that_of_its_values(task: Task) -> None:
    logits, labels = CASES["random logits"]
    few = torch.from_numpy(labels[:4])  # two classes are lacking
    some = torch.from_numpy(logits[:4]).requires_grad_()
    method = LADE(SETTINGS, task)
    assert torch.autograd.gradcheck(lambda z: method.batch_loss(z, few, MOMENT), some)
    check_gradient(method)


def regulariser(logits: torch.Tensor, labels: torch.Tensor, task: Task, kappa: float) -> torch.Tensor:
    log_prior = torch.log(task.counts.double() / task.counts.sum())
    return density_ratio_regulariser(logits, labels, log_prior, kappa)


def test_with_kappa_zero_a_constant_in_the_logit_of_a_present_class_changes_nothing() -> None:
    logits, labels = (torch.from_numpy(part) for part in CASES["random logits"])
    shift = torch.tensor([5.0, -3.0, 1.0, 0.5, 100.0, -7.0], dtype=torch.float64)
    one, other = (regulariser(z, labels, COUNTS, 0.0) for z in (logits, logits + shift))
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    one, other = (regulariser(z, labels, COUNTS, 0.1) for z in (logits, logits + shift))
    assert abs(float(one - other)) > 1e-2  # kappa holds the constants


def test_logits_of_zero_and_equal_counts_have_a_regulariser_of_zero() -> None:
    logits, labels = (torch.from_numpy(part) for part in CASES["equal logits"])
    assert float(regulariser(logits, labels, EQUAL, 0.5)) == pytest.approx(0, abs=1e-12)


def test_without_kappa_present_classes_have_no_slope_along_a_constant_and_absent_ones_are_pushed_down() -> (
    None
):
    logits, labels = (torch.from_numpy(part) for part in CASES["two classes only"])
    some = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(regulariser(some, labels, COUNTS, 0.0), some)
    prior = COUNTS.counts.double() / COUNTS.counts.sum()
    present = torch.tensor([c in (1, 5) for c in range(CLASSES)])
    # the weights exp(z)/sum exp(z) of L_c sum to 1, and so do the 1/n of m_c where there is one
    torch.testing.assert_close(slope.sum(0), torch.where(present, 0.0, prior), rtol=1e-10, atol=1e-12)
    assert (slope[:, ~present] > 0).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_single_precision_stays_finite_at_huge_logits(size: float) -> None:
    logits = torch.zeros(8, CLASSES)
    logits[::2, :3] = size
    logits.requires_grad_()
    loss = LADE(SETTINGS, COUNTS).batch_loss(logits, torch.arange(8) % CLASSES, MOMENT)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_training_step_takes_the_gradient_of_the_whole_loss() -> None:
    trainer = make_trainer("lade", SETTINGS, dtype=torch.float64)
    trainer.model.train()
    batch = trainer.data.train_batch(0)
    scalars = trainer.method.backward(trainer.model, batch, None, MOMENT)
    values = list(trainer.model.parameters())
    loss = trainer.method.batch_loss(trainer.model(batch.images), batch.labels, MOMENT)
    assert float(scalars["train_loss"]) == pytest.approx(loss.item(), rel=1e-12)
    for value, expected in zip(values, torch.autograd.grad(loss, values), strict=True):
        torch.testing.assert_close(value.grad, expected, rtol=1e-10, atol=1e-14)


def test_it_learns_few_shot_classes_too_and_predicts_by_plain_logits() -> None:
    schedule = Steps(start=0.05, peak=0.1, warmup=5, milestones=(48,))
    trainer = make_trainer("lade", iterations=60, schedule=schedule)
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < rows[1]["train_loss"] / 4
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / 4
    trainer.model.eval()
    with torch.no_grad():
        expected = trainer.model(trainer.data.meta.pixels)
    assert torch.equal(predict(trainer.model, trainer.data.meta.pixels), expected)
