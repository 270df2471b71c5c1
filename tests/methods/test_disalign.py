"""DisAlign: calibrated logits and re-weighted cross-entropy as published; starts as stage 1."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from longtail.methods.disalign import DisAlign, reweighting
from longtail.training.method import Task
from longtail.training.samplers import ShuffledSampler
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    changed,
    frozen_features,
    losses_before_and_after,
    make_head_trainer,
    model_of,
    retrain,
)
from tests.support.losses import CASES, COUNTS, EQUAL, check_gradient, found_losses, log_softmax


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rho", [0.5, 1.2, 2.0])
def test_the_loss_is_that_of_the_paper(name: str, rho: float) -> None:
    logits, labels = CASES[name]
    share = COUNTS.counts.numpy() / COUNTS.counts.sum().item()
    weights = share**-rho / sum(p * p**-rho for p in share)
    expected = -weights[labels] * log_softmax(logits)[np.arange(len(labels)), labels]
    found = found_losses(DisAlign({"rho": rho}, COUNTS), name)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("rho", "task"), [(0.0, COUNTS), (1.2, EQUAL)], ids=["rho 0", "equal counts"])
def test_without_reweighting_it_is_cross_entropy(name: str, rho: float, task: Task) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    found = found_losses(DisAlign({"rho": rho}, task), name)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(DisAlign({}, COUNTS))


@pytest.mark.parametrize("rho", [0.0, 1.0, 1.2])
def test_weights_have_mean_one_over_training_images_and_in_the_history_over_classes(rho: float) -> None:
    weights = reweighting(COUNTS.counts, rho)
    labels = torch.repeat_interleave(torch.arange(COUNTS.classes), COUNTS.counts)
    assert float(weights[labels].mean()) == pytest.approx(1, rel=1e-12)
    told = DisAlign({"rho": rho}, COUNTS).weights()
    assert float(told.mean()) == pytest.approx(1, rel=1e-12)
    torch.testing.assert_close(told / told[0], weights / weights[0], rtol=1e-12, atol=0)
    assert float(weights[-1] / weights[0]) == pytest.approx(500**rho, rel=1e-12)


def values_of(head: nn.Module) -> dict[str, Tensor]:
    """Random values for all that the head trains."""
    draws = torch.Generator().manual_seed(7)
    return {
        name: torch.randn(value.shape, generator=draws, dtype=torch.float64)
        for name, value in head.named_parameters()
        if value.requires_grad
    }


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_the_calibrated_logits_are_those_of_the_paper(size: float) -> None:
    layer = nn.Linear(5, 4).double()
    features = size * torch.randn(9, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    head = DisAlign({}, COUNTS).head(layer)
    values = values_of(head)
    assert set(values) == {"alpha", "beta", "confidence"}
    alpha, beta, v = (values[name].numpy() for name in ("alpha", "beta", "confidence"))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = np.empty((9, 4))
    for i, h in enumerate(features.numpy()):
        z = weight @ h + bias
        with np.errstate(over="ignore"):
            s = 1 / (1 + np.exp(-(v @ h)))
        expected[i] = s * (alpha * z + beta) + (1 - s) * z
    found = functional_call(head, values, (features,)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * size)


def test_the_gradient_of_the_calibration_is_that_of_its_values() -> None:
    head = DisAlign({}, COUNTS).head(nn.Linear(5, 4).double())
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = {name: value.requires_grad_() for name, value in values_of(head).items()}

    def logits(*parts: Tensor) -> Tensor:
        return functional_call(head, dict(zip(values, parts, strict=True)), (features,))

    assert torch.autograd.gradcheck(logits, tuple(values.values()))


def test_at_first_the_logits_are_stage_1s() -> None:
    model = model_of(make_head_trainer("disalign"))
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(model.eval()(images), model.network(images))


def test_only_alpha_beta_and_v_change() -> None:
    before, model, trainer = retrain("disalign")
    assert changed(before, model) == {"head.alpha", "head.beta", "head.confidence"}
    assert torch.equal(before["head.weight"], before["network.classifier.weight"])
    images = trainer.data.meta.pixels
    features = frozen_features(model, images)
    z = features @ before["head.weight"].T + before["head.bias"]
    head = model.head.state_dict()
    s = torch.sigmoid(features @ head["confidence"])[:, None]
    expected = s * (head["alpha"] * z + head["beta"]) + (1 - s) * z
    torch.testing.assert_close(model(images), expected)


def test_images_are_drawn_as_often_as_they_are() -> None:
    assert isinstance(make_head_trainer("disalign").data.sampler, ShuffledSampler)


def test_training_lowers_the_loss_and_learns_the_class_of_one_image() -> None:
    trainer = make_head_trainer("disalign")
    before, after = losses_before_and_after(trainer)
    assert after < 0.7 * before
    assert_it_learns_the_class_of_one_image(trainer)


def test_without_reweighting_the_class_of_one_image_stays_lost() -> None:
    trainer = make_head_trainer("disalign", {"rho": 0.0})
    trainer.run()
    with pytest.raises(AssertionError):
        assert_it_learns_the_class_of_one_image(trainer)
