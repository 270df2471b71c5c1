"""cRT trains W and b anew; everything below stays as it was."""

import numpy as np
import pytest
import torch

from longtail.methods.crt import CRT
from tests.support.heads import changed, reference_logits, retrain
from tests.support.losses import CASES, COUNTS, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(CRT({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(CRT({}, COUNTS))


@pytest.mark.parametrize("classifier", ["fresh", "copied"])
def test_only_weight_and_bias_change(classifier: str) -> None:
    before, model, trainer = retrain("crt", {"classifier": classifier})
    assert changed(before, model) == {"head.weight", "head.bias"}
    assert trainer.history.rows[-1]["train_loss"] < trainer.history.rows[1]["train_loss"]
    images = trainer.data.meta.pixels
    torch.testing.assert_close(model.eval()(images), reference_logits(model, images))


def test_a_fresh_classifier_depends_on_the_seed_alone_and_a_copied_one_is_stage_1s() -> None:
    heads = [make_trainer("crt", {"classifier": "fresh"}, seed=seed).model.state_dict() for seed in (1, 1, 2)]
    assert torch.equal(heads[0]["head.weight"], heads[1]["head.weight"])
    assert not torch.equal(heads[0]["head.weight"], heads[2]["head.weight"])
    assert not torch.equal(heads[0]["head.weight"], heads[0]["network.classifier.weight"])
    copied = make_trainer("crt", {"classifier": "copied"}).model.state_dict()
    assert torch.equal(copied["head.weight"], copied["network.classifier.weight"])
    assert torch.equal(copied["head.bias"], copied["network.classifier.bias"])
    assert (copied["head.scale"] == 1).all()
