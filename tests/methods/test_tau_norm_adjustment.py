"""tau-normalisation and logit adjustment together: both formulas, and the meta set chooses both numbers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from longtail.methods.tau_norm import TauNorm
from longtail.methods.tau_norm_adjustment import TauNormAdjustment
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    check_choice,
    check_nothing_is_trained,
    retrain,
)
from tests.support.losses import COUNTS
from tests.support.small_training import COUNTS as SMALL

DRAWS = np.random.default_rng(6)


def formula(
    features: NDArray[np.float64], head: dict[str, NDArray[np.float64]], numbers: dict[str, float]
) -> NDArray[np.float64]:
    """w_c . h / ||w_c||^tau - adjustment log(n_c / N), class by class."""
    columns = []
    for row, count in zip(head["weight"], SMALL, strict=True):
        cosine = features @ row / np.sqrt(row @ row) ** numbers["tau"]
        columns.append(cosine - numbers["adjustment"] * np.log(count / sum(SMALL)))
    return np.stack(columns, axis=1)


def test_the_choice_is_the_best_on_the_meta_set() -> None:
    check_choice("tau_norm_adjustment", formula)


@pytest.mark.parametrize(("tau", "adjustment"), [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.7, 1.3)])
def test_the_logits_are_those_of_both_papers(tau: float, adjustment: float) -> None:
    layer, features = nn.Linear(5, 6).double(), DRAWS.standard_normal((7, 5))
    layer.bias.data.fill_(1e3).mul_(torch.arange(6))  # must not matter
    head = TauNormAdjustment({"tau": tau, "adjustment": adjustment}, COUNTS).head(layer)
    weight = layer.weight.detach().numpy()
    share = np.array([500, 120, 60, 20, 7, 1]) / 708
    expected = features @ (weight / np.linalg.norm(weight, axis=1)[:, None] ** tau).T
    expected = expected - adjustment * np.log(share)
    np.testing.assert_allclose(head(torch.from_numpy(features)).detach().numpy(), expected, rtol=1e-12)


def test_without_adjustment_it_is_tau_normalisation() -> None:
    layer, features = nn.Linear(5, 6), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    both = TauNormAdjustment({"tau": 0.6, "adjustment": 0.0}, COUNTS).head(layer)
    assert torch.equal(both(features), TauNorm({"tau": 0.6}, COUNTS).head(layer)(features))


def test_its_grid_contains_that_of_tau_normalisation_and_so_do_its_accuracies() -> None:
    alone, both = (retrain(name)[2].method.choice() for name in ("tau_norm", "tau_norm_adjustment"))
    assert alone is not None
    assert both is not None
    assert both.meta_accuracy[:: len(both.grid["adjustment"])] == alone.meta_accuracy
    assert max(both.meta_accuracy) >= max(alone.meta_accuracy)
    assert len(both.meta_accuracy) == 21 * 21


def test_a_fixed_number_leaves_the_other_to_the_meta_set() -> None:
    found = retrain("tau_norm_adjustment", {"tau": 0.35})[2].method.choice()
    assert found is not None
    assert found.grid["tau"] == [0.35]
    assert found.chosen["tau"] == 0.35
    assert len(found.meta_accuracy) == 21


def test_only_the_two_numbers_change() -> None:
    check_nothing_is_trained("tau_norm_adjustment", set())


def test_it_helps_the_class_of_one_image() -> None:
    _, _, trainer = retrain("tau_norm_adjustment")
    assert_it_learns_the_class_of_one_image(trainer)
