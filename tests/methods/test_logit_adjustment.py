"""Post-hoc logit adjustment: the prior leaves the logits, by as much as the meta set chooses."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from longtail.methods.logit_adjustment import LogitAdjustment
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    check_choice,
    check_nothing_is_trained,
    retrain,
)
from tests.support.losses import COUNTS, EQUAL
from tests.support.small_training import COUNTS as SMALL

DRAWS = np.random.default_rng(5)


def formula(
    features: NDArray[np.float64], head: dict[str, NDArray[np.float64]], numbers: dict[str, float]
) -> NDArray[np.float64]:
    """z_c - tau log(n_c / N)."""
    share = np.array(SMALL) / sum(SMALL)
    return features @ head["weight"].T + head["bias"] - numbers["tau"] * np.log(share)


def test_the_choice_is_the_best_on_the_meta_set() -> None:
    check_choice("logit_adjustment", formula)


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0, 2.0])
def test_the_logits_are_those_of_the_paper(tau: float) -> None:
    layer, features = nn.Linear(5, 6).double(), DRAWS.standard_normal((7, 5))
    head = LogitAdjustment({"tau": tau}, COUNTS).head(layer)
    share = np.array([500, 120, 60, 20, 7, 1]) / 708
    expected = features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy() - tau * np.log(share)
    np.testing.assert_allclose(head(torch.from_numpy(features)).detach().numpy(), expected, rtol=1e-12)


def test_at_tau_one_it_is_the_best_guess_for_equal_classes() -> None:
    """Where p(c | x) is exact: Gaussians in one dimension, whose classifier is linear."""
    centres, share = torch.arange(6.0).double(), COUNTS.counts.double() / COUNTS.counts.sum()
    layer = nn.Linear(1, 6).double()
    layer.weight.data = centres[:, None].clone()
    layer.bias.data = share.log() - centres**2 / 2
    points = torch.linspace(-2, 8, 1000, dtype=torch.float64)[:, None]
    nearest = (points - centres).abs().argmin(dim=1)
    assert not torch.equal(layer(points).argmax(dim=1), nearest)
    head = LogitAdjustment({"tau": 1.0}, COUNTS).head(layer)
    assert torch.equal(head(points).argmax(dim=1), nearest)


def test_equal_classes_have_nothing_to_adjust() -> None:
    layer, features = nn.Linear(5, 6), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    adjusted = LogitAdjustment({"tau": 1.5}, EQUAL).head(layer)(features)
    torch.testing.assert_close(adjusted.softmax(dim=1), layer(features).softmax(dim=1))


def test_only_tau_changes() -> None:
    check_nothing_is_trained("logit_adjustment", set())


def test_it_helps_the_class_of_one_image() -> None:
    _, _, trainer = retrain("logit_adjustment")
    assert_it_learns_the_class_of_one_image(trainer)
