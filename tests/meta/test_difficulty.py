"""Eqs. 1, 4 and 7 and the entropy of Fig. 3 against their formulas in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtail.meta.difficulty import (
    DifficultyNet,
    class_weights,
    difficulty_entropy,
    driver_loss,
    driver_target,
)

CLASSES, HIDDEN = 7, 5
difficulties = st.lists(st.floats(1e-6, 1), min_size=1, max_size=40)
accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def net(bias: bool, relative: bool) -> DifficultyNet:
    torch.manual_seed(4)
    return DifficultyNet(CLASSES, HIDDEN, bias=bias, relative=relative).double()


def eq1(d: DifficultyNet, accuracy: np.ndarray) -> np.ndarray:
    """Two hidden layers with ReLU, then a sigmoid, on one input vector."""
    values = [value.detach().numpy() for value in d.parameters()]
    x = accuracy
    step = 2 if len(values) == 6 else 1
    for layer in range(3):
        x = values[layer * step] @ x + (values[layer * step + 1] if step == 2 else 0)
        x = np.maximum(x, 0) if layer < 2 else 1 / (1 + np.exp(-x))
    return x


@pytest.mark.parametrize("bias", [False, True])
def test_relative_difficulty_is_eq_1(bias: bool) -> None:
    accuracy = np.random.default_rng(0).random(CLASSES)
    d = net(bias, relative=True)
    np.testing.assert_allclose(d(tensor(accuracy)).detach(), eq1(d, accuracy), rtol=1e-13)


@pytest.mark.parametrize("bias", [False, True])
def test_absolute_difficulty_is_one_scalar_network_for_all_classes(bias: bool) -> None:
    accuracy = np.random.default_rng(0).random(CLASSES)
    d = net(bias, relative=False)
    expected = [eq1(d, accuracy[c : c + 1])[0] for c in range(CLASSES)]
    np.testing.assert_allclose(d(tensor(accuracy)).detach(), expected, rtol=1e-13)


@pytest.mark.parametrize("relative", [True, False])
def test_relative_difficulty_depends_on_all_classes_and_absolute_on_its_own(relative: bool) -> None:
    accuracy = torch.rand(CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(net(True, relative), accuracy)
    assert isinstance(jacobian, torch.Tensor)
    others = jacobian - torch.diag(jacobian.diagonal())
    assert (jacobian.diagonal() != 0).all()
    assert bool((others != 0).sum() == CLASSES * (CLASSES - 1)) is relative
    assert bool((others == 0).all()) is not relative


@pytest.mark.parametrize("relative", [True, False])
def test_without_biases_accuracy_zero_gives_one_half_and_no_gradient(relative: bool) -> None:
    d = net(False, relative)
    found = d(torch.zeros(CLASSES, dtype=torch.float64))
    assert (found == 0.5).all()
    for gradient in torch.autograd.grad((found * torch.arange(CLASSES)).sum(), list(d.parameters())):
        assert (gradient == 0).all()


def test_with_biases_accuracy_zero_gives_unequal_difficulties() -> None:
    found = net(True, relative=True)(torch.zeros(CLASSES, dtype=torch.float64))
    assert found.std() > 0


@given(difficulties)
def test_weights_are_eq_4_and_have_mean_1(d: list[float]) -> None:
    found = class_weights(tensor(d)).numpy()
    np.testing.assert_allclose(found, np.array(d) / np.mean(d), rtol=1e-12)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-12)


def test_the_normalisation_is_part_of_the_gradient() -> None:
    d = torch.rand(CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    jacobian = torch.autograd.functional.jacobian(class_weights, d)
    assert isinstance(jacobian, torch.Tensor)
    total = d.sum().item()
    expected = CLASSES * (np.eye(CLASSES) / total - np.outer(d, np.ones(CLASSES)) / total**2)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-12)
    np.testing.assert_allclose(jacobian.sum(0), 0, atol=1e-12)  # sum w = C whatever d is


@given(accuracies, st.data())
def test_driver_loss_is_eq_7_and_its_sum_is_c_times_its_mean(a: list[float], data: st.DataObject) -> None:
    d = data.draw(st.lists(st.floats(0, 1), min_size=len(a), max_size=len(a)))
    target = 1 - np.array(a) / (np.sum(a) + 1e-12)
    np.testing.assert_allclose(driver_target(tensor(a)), target, rtol=1e-12)
    mean, total = (float(driver_loss(tensor(d), tensor(a), how)) for how in ("mean", "sum"))
    np.testing.assert_allclose(mean, np.mean((target - d) ** 2), rtol=1e-12)
    np.testing.assert_allclose(total, len(a) * mean, rtol=1e-12)
    assert float(driver_loss(tensor(d), tensor(a))) == mean


def test_the_driver_target_is_one_where_all_accuracies_are_zero() -> None:
    assert (driver_target(torch.zeros(CLASSES)) == 1).all()


@given(difficulties)
def test_entropy_is_that_of_figure_3_and_never_negative(d: list[float]) -> None:
    q = np.array(d) / np.sum(d)
    found = float(difficulty_entropy(tensor(d)))
    np.testing.assert_allclose(found, -np.mean(np.log(len(d) * q)), rtol=1e-9, atol=1e-14)
    assert found >= 0


@given(st.floats(1e-6, 1), st.integers(2, 40), st.floats(1e-3, 1))
def test_entropy_is_zero_for_equal_difficulties_and_positive_for_others(
    d: float, classes: int, change: float
) -> None:
    equal = tensor([d] * classes)
    assert 0 <= float(difficulty_entropy(equal)) < 1e-15
    equal[0] *= 1 + change
    assert float(difficulty_entropy(equal)) > 1e-9
