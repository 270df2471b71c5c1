"""The meta-gradient against double backward, in float64; and what it must leave alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from longtail.meta.meta_gradient import meta_loss, weight_gradient
from longtail.meta.tangents import Forward, call_without_trace
from longtail.networks import build_network
from tests.support.naive_loop import distance, plain

CLASSES = 6
COUNTS = torch.tensor([40.0, 20.0, 9.0, 4.0, 2.0, 1.0], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 4, 0, 4])  # most classes are not in the batch
SHAPES = {"digits_resnet": (1, 8, 8), "resnet32": (3, 16, 16)}
STEP = 0.1


def balanced(logits: Tensor, labels: Tensor) -> Tensor:
    return plain(logits + COUNTS.log(), labels)


LOSSES = {"cross_entropy": plain, "balanced_softmax": balanced}


class Case:
    """A network, a training batch, a meta batch, and class weights that depend on theta."""

    def __init__(self, network: str, loss: str, model: nn.Module | None = None) -> None:
        draws = torch.Generator().manual_seed(5)
        shape = SHAPES[network]
        self.model = (model or build_network(network, CLASSES, seed=3)).double().train()
        self.images = torch.randn(len(LABELS), *shape, generator=draws, dtype=torch.float64)
        self.meta_images = torch.randn(4, *shape, generator=draws, dtype=torch.float64)
        self.meta_labels = torch.tensor([0, 1, 3, 5])
        self.loss: Callable[[Tensor, Tensor], Tensor] = LOSSES[loss]
        self.theta = torch.randn(CLASSES, 3, generator=draws, dtype=torch.float64, requires_grad=True)

    def class_weights(self) -> Tensor:
        """Unequal positive weights [C] of mean 1, a nonlinear function of theta."""
        difficulty = torch.sigmoid(self.theta @ torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64))
        return CLASSES * difficulty / difficulty.sum()

    def meta_loss(self, parameters) -> Tensor:
        return plain(call_without_trace(self.model, parameters, self.meta_images), self.meta_labels).mean()

    def drift(self) -> list[Tensor]:
        """Something to add to every gradient."""
        draws = torch.Generator().manual_seed(8)
        return [
            torch.randn(value.shape, generator=draws, dtype=torch.float64)
            for value in self.model.parameters()
            if value.requires_grad
        ]

    def by_tangent(
        self, step: float = STEP, drift: list[Tensor] | None = None, rates: list[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        forward = Forward(self.model, self.images)
        losses = self.loss(forward.logits, LABELS)
        weights = self.class_weights()[LABELS]
        ahead = weight_gradient(
            forward,
            losses,
            weights,
            lambda logits: self.loss(logits, LABELS),
            self.meta_loss,
            step,
            drift,
            rates,
        )
        (gradient,) = torch.autograd.grad(weights, self.theta, grad_outputs=ahead.sample_weights)
        return gradient, ahead.loss

    def by_double_backward(
        self, step: float = STEP, drift: list[Tensor] | None = None, rates: list[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        phi = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        logits = functional_call(self.model, {**phi, **buffers}, (self.images,))
        inner = (self.class_weights()[LABELS] * self.loss(logits, LABELS)).mean()
        gradients = torch.autograd.grad(inner, list(phi.values()), create_graph=True, allow_unused=True)
        ahead = {
            name: value - step * rate * ((0 if gradient is None else gradient) + own)
            for (name, value), gradient, own, rate in zip(
                phi.items(), gradients, drift or [0.0] * len(phi), rates or [1.0] * len(phi), strict=True
            )
        }
        meta_logits = functional_call(self.model, {**ahead, **buffers}, (self.meta_images,))
        meta = plain(meta_logits, self.meta_labels).mean()
        return torch.autograd.grad(meta, self.theta)[0], meta.detach()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", SHAPES)
def test_it_equals_double_backward(network: str, loss: str) -> None:
    case = Case(network, loss)
    (found, loss_ahead), (expected, loss_expected) = case.by_tangent(), case.by_double_backward()
    assert expected.norm() > 1e-6
    assert distance(found, expected) < 1e-10
    torch.testing.assert_close(loss_ahead, loss_expected, rtol=1e-11, atol=0)


def test_momentum_and_weight_decay_in_the_inner_step_are_taken_in() -> None:
    case = Case("digits_resnet", "cross_entropy")
    drift = case.drift()
    found, expected = case.by_tangent(drift=drift), case.by_double_backward(drift=drift)
    assert distance(found[0], expected[0]) < 1e-10
    torch.testing.assert_close(found[1], expected[1], rtol=1e-11, atol=0)
    assert distance(case.by_tangent()[0], expected[0]) > 1e-3


def test_parameters_that_move_more_slowly_do_so_in_the_inner_step_too() -> None:
    case = Case("digits_resnet", "cross_entropy")
    count = len(list(case.model.parameters()))
    rates, drift = [0.1] * (count - 2) + [1.0, 1.0], case.drift()
    found = case.by_tangent(drift=drift, rates=[*rates, 1.0])  # the last one is of something that is not phi
    expected = case.by_double_backward(drift=drift, rates=rates)
    assert distance(found[0], expected[0]) < 1e-10
    torch.testing.assert_close(found[1], expected[1], rtol=1e-11, atol=0)
    assert distance(case.by_tangent(drift=drift)[0], expected[0]) > 1e-3


def test_a_wrong_step_size_is_noticed() -> None:
    case = Case("digits_resnet", "cross_entropy")
    assert distance(case.by_tangent(STEP * 1.001)[0], case.by_double_backward()[0]) > 1e-4


def test_ignoring_the_weights_in_the_inner_step_would_be_noticed() -> None:
    case = Case("digits_resnet", "cross_entropy")
    expected = case.by_double_backward()[0]
    class_weights = case.class_weights
    case.class_weights = lambda: class_weights() / class_weights().detach()
    assert distance(case.by_tangent()[0], expected) > 1e-3


def test_the_meta_loss_is_the_mean_over_the_meta_batch_at_other_parameters() -> None:
    case = Case("digits_resnet", "cross_entropy")
    moved = {name: 1.1 * value.detach() for name, value in case.model.named_parameters()}
    found = meta_loss(case.model, case.meta_images, case.meta_labels)(moved)
    torch.testing.assert_close(found, case.meta_loss(moved), rtol=1e-12, atol=0)
    assert (found - case.meta_loss({})).abs() > 1e-3


class WithIdleParameters(nn.Module):
    """One parameter that reaches no loss, one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))
        self.network = build_network("digits_resnet", CLASSES, seed=3)
        self.network.get_parameter("conv.weight").requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def test_parameters_that_reach_no_loss_or_are_frozen_do_no_harm() -> None:
    case = Case("digits_resnet", "cross_entropy", WithIdleParameters())
    assert distance(case.by_tangent()[0], case.by_double_backward()[0]) < 1e-10


def test_losses_that_no_trained_parameter_reaches_have_gradient_zero() -> None:
    model = WithIdleParameters().double().train()
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 2])
    forward = Forward(model, images)
    moved = weight_gradient(
        forward,
        forward.logits.square().sum(1) * 0 + model.idle.sum(),
        torch.ones(4, dtype=torch.float64),
        lambda logits: torch.zeros(4, dtype=torch.float64),
        lambda parameters: plain(call_without_trace(model, parameters, images), labels).mean(),
        STEP,
    )
    assert torch.equal(moved.sample_weights, torch.zeros(4, dtype=torch.float64))


def test_batchnorm_counts_one_forward_and_no_grad_is_left() -> None:
    case, alone = Case("digits_resnet", "cross_entropy"), Case("digits_resnet", "cross_entropy")
    alone.model(alone.images)  # the training forward
    before = {name: value.detach().clone() for name, value in case.model.named_parameters()}
    case.by_tangent()
    expected = dict(alone.model.named_buffers())
    assert any("num_batches_tracked" in name for name in expected)
    for name, buffer in case.model.named_buffers():
        assert torch.equal(buffer, expected[name]), name
    for name, value in case.model.named_parameters():
        assert value.grad is None, name
        assert torch.equal(value, before[name]), name
    assert case.theta.grad is None


def test_calling_without_trace_uses_batch_statistics_and_leaves_the_running_ones() -> None:
    case = Case("digits_resnet", "cross_entropy")
    before = {name: buffer.clone() for name, buffer in case.model.named_buffers()}
    found = call_without_trace(case.model, {}, case.images)
    for name, buffer in case.model.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert torch.equal(found, case.model(case.images))


def test_the_graph_of_the_losses_serves_the_step_of_phi_afterwards() -> None:
    case = Case("digits_resnet", "cross_entropy")
    forward = Forward(case.model, case.images)
    losses = plain(forward.logits, LABELS)
    weights = case.class_weights().detach()[LABELS]
    expected = torch.autograd.grad(
        (weights * losses).mean(), list(case.model.parameters()), retain_graph=True
    )
    weight_gradient(forward, losses, weights, lambda z: plain(z, LABELS), case.meta_loss, STEP)
    (weights * losses).mean().backward()
    for value, gradient in zip(case.model.parameters(), expected, strict=True):
        assert value.grad is not None
        assert torch.equal(value.grad, gradient)


def test_no_warning_reaches_the_user() -> None:
    case = "Case('digits_resnet', 'cross_entropy')"
    code = f"from tests.meta.test_meta_gradient import Case; {case}.by_tangent()"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
