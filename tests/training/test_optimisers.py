"""The optimisers are torch.optim's, without the import of torch.compile's machinery."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from longtail.training.optimisers import SGD, Adam


def parameters() -> list[Tensor]:
    draws = torch.Generator().manual_seed(3)
    shapes = [(3, 4), (5,), ()]
    return [torch.randn(shape, generator=draws, dtype=torch.float64).requires_grad_() for shape in shapes]


def gradients(step: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(100 + step)
    return [torch.randn(value.shape, generator=draws, dtype=torch.float64) for value in parameters()]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_that_of_torch_with_a_learning_rate_that_changes(nesterov: bool) -> None:
    ours, theirs = parameters(), parameters()
    one = SGD(ours, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    other = torch.optim.SGD(theirs, lr=1.0, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    for step in range(6):
        rate = 0.1 / (1 + step)
        other.param_groups[0]["lr"] = rate
        for value, reference, gradient in zip(ours, theirs, gradients(step), strict=True):
            value.grad, reference.grad = gradient.clone(), gradient.clone()
        one.step(rate)
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_step_to_come_is_linear_in_the_gradient(nesterov: bool) -> None:
    values = parameters()
    optimiser = SGD(values, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    for step in range(3):  # the first has no momentum yet
        gain, drift = optimiser.linear_step()
        expected = [
            value - 0.1 * (gain * gradient + own)
            for value, gradient, own in zip(values, gradients(step), drift, strict=True)
        ]
        for value, gradient in zip(values, gradients(step), strict=True):
            value.grad = gradient
        optimiser.step(0.1)
        torch.testing.assert_close(values, expected, rtol=1e-13, atol=1e-13)


def test_nothing_to_train_is_no_mistake() -> None:
    SGD([], momentum=0.9, weight_decay=0.0).step(0.1)


def test_adam_is_that_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    one = Adam(ours, learning_rate=1e-2, weight_decay=1e-2)
    other = torch.optim.Adam(theirs, lr=1e-2, weight_decay=1e-2)
    for step in range(6):
        for value, reference, gradient in zip(ours, theirs, gradients(step), strict=True):
            value.grad, reference.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_parameter_without_a_gradient_stays_and_zero_grad_drops_them() -> None:
    values = parameters()
    optimiser = SGD(values, momentum=0.9, weight_decay=1e-2)
    values[0].grad = torch.ones_like(values[0])
    before = [value.detach().clone() for value in values]
    optimiser.step(0.1)
    assert not torch.equal(values[0], before[0])
    assert torch.equal(values[1], before[1])
    optimiser.zero_grad()
    assert all(value.grad is None for value in values)


def test_what_state_gives_goes_on_to_the_same_bits() -> None:
    def run(steps: range, values: list[Tensor], sgd: SGD, adam: Adam) -> None:
        for step in steps:
            for value, gradient in zip(values, gradients(step), strict=True):
                value.grad = gradient
            sgd.step(0.1)
            adam.step()

    whole = parameters()
    run(range(6), whole, SGD(whole, 0.9, 0.01), Adam(whole, 0.01, 0.01))
    first = parameters()
    sgd, adam = SGD(first, 0.9, 0.01), Adam(first, 0.01, 0.01)
    run(range(3), first, sgd, adam)
    second = [value.detach().clone().requires_grad_() for value in first]
    later_sgd, later_adam = SGD(second, 0.9, 0.01), Adam(second, 0.01, 0.01)
    later_sgd.load_state(sgd.state())
    later_adam.load_state(adam.state())
    run(range(3, 6), second, later_sgd, later_adam)
    assert all(torch.equal(one, other) for one, other in zip(whole, second, strict=True))


def test_a_step_does_not_import_the_compiler() -> None:
    program = """
import sys, torch
from longtail.training.optimisers import SGD, Adam
value = torch.ones(3, requires_grad=True)
value.grad = torch.ones(3)
SGD([value], 0.9, 0.0).step(0.1)
Adam([value], 0.1, 0.0).step()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("nesterov", [False, True])
def test_each_parameter_has_its_own_share_of_the_learning_rate(nesterov: bool) -> None:
    ours, theirs, shares = parameters(), parameters(), [0.1, 1.0, 0.1]
    one = SGD(ours, momentum=0.9, weight_decay=1e-2, nesterov=nesterov, rates=shares)
    groups = [{"params": [value], "lr": share} for value, share in zip(theirs, shares, strict=True)]
    other = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    for step in range(4):
        rate = 0.1 / (1 + step)
        for group, share in zip(other.param_groups, shares, strict=True):
            group["lr"] = rate * share
        before = [value.detach().clone() for value in ours]
        gain, drift = one.linear_step()
        for value, reference, gradient in zip(ours, theirs, gradients(step), strict=True):
            value.grad, reference.grad = gradient.clone(), gradient.clone()
        one.step(rate)
        other.step()
        expected = [
            value - rate * share * (gain * gradient + own)
            for value, share, gradient, own in zip(before, shares, gradients(step), drift, strict=True)
        ]
        torch.testing.assert_close([*ours], expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    equal = parameters()
    plain = SGD(equal, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    for value, gradient in zip(equal, gradients(0), strict=True):
        value.grad = gradient.clone()
    plain.step(0.1)
    assert not torch.equal(equal[0], ours[0])
