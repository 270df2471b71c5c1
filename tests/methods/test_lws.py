"""LWS trains one scale a class and nothing else."""

import numpy as np
import pytest
import torch

from longtail.methods.lws import LWS
from tests.support.heads import changed, reference_logits, retrain
from tests.support.losses import CASES, COUNTS, check_gradient, found_losses, log_softmax


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(LWS({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(LWS({}, COUNTS))


def test_only_the_scales_change_and_they_start_at_one_on_the_classifier_of_stage_1() -> None:
    before, model, trainer = retrain("lws")
    assert changed(before, model) == {"head.scale"}
    assert (before["head.scale"] == 1).all()
    assert torch.equal(before["head.weight"], before["network.classifier.weight"])
    assert torch.equal(before["head.bias"], before["network.classifier.bias"])
    images = trainer.data.meta.pixels
    torch.testing.assert_close(model.eval()(images), reference_logits(model, images))


def test_untrained_scales_predict_what_stage_1_predicts() -> None:
    layer = torch.nn.Linear(5, 3)
    features = torch.randn(4, 5)
    torch.testing.assert_close(LWS({}, COUNTS).head(layer)(features), layer(features))
