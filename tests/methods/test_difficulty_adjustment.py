"""Difficulty-adjusted logits: raised by the log-odds of an error, as far as the meta set says."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from longtail.methods.difficulty_adjustment import DifficultyAdjustment, log_odds
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    check_choice,
    check_nothing_is_trained,
    frozen_features,
    make_head_trainer,
    model_of,
    retrain,
)
from tests.support.losses import COUNTS


def formula(
    features: NDArray[np.float64], head: dict[str, NDArray[np.float64]], numbers: dict[str, float]
) -> NDArray[np.float64]:
    """z_c + tau times the difficulty that the head holds."""
    return features @ head["weight"].T + head["bias"] + numbers["tau"] * head["difficulty"]


def test_the_choice_is_the_best_on_the_meta_set() -> None:
    check_choice("difficulty_adjustment", formula)


def test_the_difficulty_is_the_log_odds_of_an_error_of_stage_one_on_the_meta_set() -> None:
    trainer = make_head_trainer("difficulty_adjustment", dtype=torch.float64)
    model, meta = model_of(trainer), trainer.data.meta
    layer = {name: value.numpy() for name, value in model.network.classifier.state_dict().items()}  # type: ignore[union-attr]
    features, labels = frozen_features(model, meta.pixels).numpy(), meta.labels.numpy()
    guesses = (features @ layer["weight"].T + layer["bias"]).argmax(1)
    expected = []
    for own in range(4):
        right = int((guesses[labels == own] == own).sum())
        accuracy = (right + 0.5) / (20 + 1)
        expected.append(np.log((1 - accuracy) / accuracy))
    assert max(expected) - min(expected) > 1
    trainer.run()
    np.testing.assert_allclose(model.head.get_buffer("difficulty").numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("right", "expected"), [(0, np.log(8.5 / 0.5)), (4, 0.0), (8, np.log(0.5 / 8.5)), (6, np.log(2.5 / 6.5))]
)
def test_all_wrong_and_all_right_stay_finite_and_mirror_each_other(right: int, expected: float) -> None:
    guesses = torch.tensor([1] * right + [0] * (8 - right))
    found = log_odds(nn.functional.one_hot(guesses, 3).double(), torch.ones(8, dtype=torch.int64))
    np.testing.assert_allclose(found.numpy(), [0.0, expected, 0.0], rtol=1e-12, atol=1e-15)


def test_tau_one_brings_a_class_to_even_odds_where_noise_is_logistic() -> None:
    """Two classes, of which one shifts: the derivation in the module, by its quantiles."""
    quantiles = (torch.arange(20_000).double() + 0.5) / 20_000
    margin = 1.7 + torch.logit(quantiles)
    logits = torch.stack([margin, torch.zeros_like(margin)], dim=1)
    labels = torch.zeros(20_000, dtype=torch.int64)
    assert float((logits.argmax(dim=1) == 0).double().mean()) == pytest.approx(
        1 / (1 + np.exp(-1.7)), abs=1e-3
    )
    logits[:, 0] += log_odds(logits, labels)[0]
    assert float((logits.argmax(dim=1) == 0).double().mean()) == pytest.approx(0.5, abs=1e-3)


def test_a_fixed_tau_still_measures_the_difficulties() -> None:
    before, model, trainer = retrain("difficulty_adjustment", {"tau": 0.35})
    assert float(model.head.get_buffer("tau")) == pytest.approx(0.35)
    assert float(model.head.get_buffer("difficulty").std()) > 0
    assert not before["head.difficulty"].any()
    assert trainer.iteration == 1


def test_before_anything_is_measured_it_is_stage_one() -> None:
    layer, features = nn.Linear(5, 6), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(DifficultyAdjustment({"tau": 1.0}, COUNTS).head(layer)(features), layer(features))


def test_only_tau_and_the_difficulties_change() -> None:
    check_nothing_is_trained("difficulty_adjustment", {"difficulty"})


def test_it_helps_the_class_of_one_image() -> None:
    _, _, trainer = retrain("difficulty_adjustment")
    assert_it_learns_the_class_of_one_image(trainer)
