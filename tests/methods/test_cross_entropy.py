"""Cross-entropy: the formula, and the network that it trains."""

import numpy as np
import pytest
import torch

from longtail.methods.cross_entropy import CrossEntropy
from longtail.training.method import StepInfo
from tests.support.losses import CASES, COUNTS, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_minus_log_softmax(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(CrossEntropy({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(CrossEntropy({}, COUNTS))


def test_the_step_averages_over_the_batch() -> None:
    trainer = make_trainer("cross_entropy", dtype=torch.float64)
    trainer.model.train()
    batch = trainer.data.train_batch(0)
    scalars = trainer.method.backward(trainer.model, batch, None, StepInfo(0, 1, 0.1))
    logits = trainer.model(batch.images)
    losses = torch.logsumexp(logits, 1) - logits[torch.arange(len(batch.labels)), batch.labels]
    assert float(scalars["train_loss"]) == pytest.approx(losses.mean().item(), rel=1e-12)
    assert not scalars["train_loss"].requires_grad
    values = list(trainer.model.parameters())
    for value, expected in zip(values, torch.autograd.grad(losses.mean(), values), strict=True):
        torch.testing.assert_close(value.grad, expected, rtol=1e-12, atol=1e-15)


def test_it_has_neither_difficulties_nor_weights_nor_a_head() -> None:
    method = CrossEntropy({}, COUNTS)
    assert method.difficulty() is None
    assert method.weights() is None
    with pytest.raises(TypeError, match="no head"):
        method.head(torch.nn.Linear(3, 2))
