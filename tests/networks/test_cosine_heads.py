"""Heads on features below a classifier of cosines: their logits, by the plain numbers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longtail.config.presets import METHODS
from longtail.methods import build_method
from longtail.networks.cosine import CosineClassifier
from longtail.networks.heads import ScaledClassifier
from longtail.training.method import Task

CLASSES, WIDTH, SCALE = 5, 7, 30.0
DRAWS = np.random.default_rng(3)
WEIGHT = DRAWS.standard_normal((CLASSES, WIDTH)) * np.array([[4.0], [2], [1], [0.5], [0.1]])
FEATURES = DRAWS.standard_normal((6, WIDTH)) * 3
HEADS = [name for name, preset in METHODS.items() if preset.stage == "retrain"]


def classifier() -> CosineClassifier:
    made = CosineClassifier(WIDTH, CLASSES, SCALE).double()
    made.weight.data = torch.from_numpy(WEIGHT.copy())
    return made


def cosines(weight: NDArray[np.float64] = WEIGHT) -> NDArray[np.float64]:
    """30 cos, image by image and class by class."""
    return np.array([[SCALE * (w @ h) / (np.sqrt(w @ w) * np.sqrt(h @ h)) for w in weight] for h in FEATURES])


def head(name: str, **settings: object) -> torch.nn.Module:
    preset = METHODS[name]
    chosen = preset.settings.model_validate(settings).model_dump(by_alias=True)
    task = Task(counts=torch.tensor([9, 5, 3, 2, 1]), seed=1, imbalance=9)
    return build_method(name, chosen, task).head(classifier()).double()


def logits(made: torch.nn.Module) -> NDArray[np.float64]:
    return made(torch.from_numpy(FEATURES)).detach().numpy()


@pytest.mark.parametrize(
    "name", ["lws", "las", "disalign", "logit_adjustment", "difficulty_adjustment", "maxnorm"]
)
def test_a_head_that_starts_at_stage_one_starts_with_its_logits(name: str) -> None:
    np.testing.assert_allclose(logits(head(name)), cosines(), rtol=1e-12)
    made = head("crt", classifier="copied")
    np.testing.assert_allclose(logits(made), cosines(), rtol=1e-12)


def test_scales_multiply_the_logits_and_class_vectors_turn() -> None:
    made = ScaledClassifier(classifier(), train_classifier=True, train_scale=True)
    scale = np.array([0.5, 1, 2, 3, 4])
    made.scale.data = torch.from_numpy(scale)
    made.weight.data[0] = torch.arange(1.0, WIDTH + 1)
    turned = WEIGHT.copy()
    turned[0] = np.arange(1, WIDTH + 1)
    np.testing.assert_allclose(logits(made), cosines(turned) * scale, rtol=1e-12)
    # without the scale of the cosines, or with the lengths of the class vectors, they would be others
    assert np.abs(logits(made) - cosines(turned) * scale / SCALE).max() > 1
    assert np.abs(logits(made) - FEATURES @ turned.T * scale).max() > 1


def test_the_calibration_of_disalign_is_on_the_cosines() -> None:
    made = head("disalign")
    alpha, beta, v = np.linspace(0.5, 2, CLASSES), np.linspace(-1, 1, CLASSES), np.linspace(-0.3, 0.3, WIDTH)
    for name, value in (("alpha", alpha), ("beta", beta), ("confidence", v)):
        getattr(made, name).data = torch.from_numpy(value)
    share = 1 / (1 + np.exp(-FEATURES @ v))[:, None]
    z = cosines()
    np.testing.assert_allclose(logits(made), share * (alpha * z + beta) + (1 - share) * z, rtol=1e-11)


@pytest.mark.parametrize("tau", [0.0, 0.4, 1.0])
def test_tau_norm_divides_by_a_power_of_the_length_of_class_vectors(tau: float) -> None:
    lengths = np.linalg.norm(WEIGHT, axis=1)
    np.testing.assert_allclose(
        logits(head("tau_norm", tau=tau)), cosines() * lengths ** (1 - tau), rtol=1e-11
    )


@pytest.mark.parametrize("name", ["crt", "balms"])
def test_a_new_classifier_is_of_cosines_too(name: str) -> None:
    made = head(name)
    weight = made.get_parameter("weight").detach().numpy()
    assert np.abs(weight - WEIGHT).max() > 0.1
    np.testing.assert_allclose(logits(made), cosines(weight), rtol=1e-6)
    assert {key for key, _ in made.named_parameters()} <= {"weight", "scale"}


@pytest.mark.parametrize("name", HEADS)
def test_every_head_takes_a_classifier_of_cosines_and_comes_back_from_its_file(name: str) -> None:
    made, other = head(name), head(name)
    other.load_state_dict(made.state_dict())
    assert np.array_equal(logits(other), logits(made))
    assert np.isfinite(logits(made)).all()
