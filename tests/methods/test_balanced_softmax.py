"""Balanced Softmax: Eq. 3 of Ren et al., without overflow; cross-entropy where counts are equal."""

import numpy as np
import pytest
import torch

from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.training.method import StepInfo, Task
from longtail.training.trainer import predict
from tests.support.losses import CASES, COUNTS, EQUAL, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_paper(name: str) -> None:
    logits, labels = CASES[name]
    # -log( n_y e^{z_y} / sum_c n_c e^{z_c} ), the exponentials over the largest
    n = COUNTS.counts.numpy().astype(float)
    scaled = n * np.exp(logits - logits.max(1, keepdims=True))
    rows = np.arange(len(labels))
    own = np.log(n[labels]) + logits[rows, labels] - logits.max(1)
    expected = np.log(scaled.sum(1)) - own
    found = found_losses(BalancedSoftmax({}, COUNTS), name)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_equal_counts_give_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(
        found_losses(BalancedSoftmax({}, EQUAL), name), expected, rtol=1e-10, atol=1e-10
    )


def test_the_scale_of_the_counts_does_not_matter() -> None:
    tenfold = Task(counts=10 * COUNTS.counts, seed=1, imbalance=100)
    one, other = (found_losses(BalancedSoftmax({}, task), "random logits") for task in (COUNTS, tenfold))
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(BalancedSoftmax({}, COUNTS))


def test_single_precision_keeps_the_largest_counts_apart() -> None:
    task = Task(counts=torch.tensor([10**6, 1]), seed=1, imbalance=1e6)
    losses = BalancedSoftmax({}, task).sample_losses(
        torch.zeros(2, 2), torch.tensor([0, 1]), StepInfo(0, 1, 0.1)
    )
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, [np.log1p(1e-6), np.log(1e6 + 1)], rtol=1e-6, atol=1e-6)


def test_predictions_use_the_plain_logits() -> None:
    trainer = make_trainer("balanced_softmax", iterations=3)
    trainer.run()
    trainer.model.eval()
    with torch.no_grad():
        expected = trainer.model(trainer.data.meta.pixels)
    assert torch.equal(predict(trainer.model, trainer.data.meta.pixels), expected)
