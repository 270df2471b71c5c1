"""tau-normalisation: the published rescaling, its limits, and a tau that the meta set chooses."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from longtail.methods.tau_norm import TauNorm, TauNormalisedClassifier, tau_normalised
from longtail.training.choices import STEPS
from longtail.training.post_hoc import choose
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    changed,
    check_choice,
    check_nothing_is_trained,
    make_head_trainer,
    model_of,
    retrain,
)
from tests.support.losses import CASES, COUNTS, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer

DRAWS = np.random.default_rng(4)


def formula(weight: NDArray[np.float64], features: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """z_c = w_c . h / ||w_c||^tau, class by class; a row of zeros gives zero."""
    columns = []
    for row in weight:
        length = np.sqrt((row**2).sum())
        columns.append(features @ row / length**tau if length else np.zeros(len(features)))
    return np.stack(columns, axis=1)


def classifier(weight: NDArray[np.float64]) -> nn.Linear:
    """With these class vectors and a bias that must not matter."""
    layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
    layer.weight.data = torch.from_numpy(weight)
    layer.bias.data.fill_(1e3).mul_(torch.arange(len(weight)))
    return layer


WEIGHTS = {
    "random": DRAWS.standard_normal((6, 5)) * np.array([[9.0], [5], [2], [1], [0.3], [0.1]]),
    "a row of zeros": np.vstack([DRAWS.standard_normal((5, 5)), np.zeros((1, 5))]),
    "long and short": DRAWS.standard_normal((6, 5)) * np.array([[1e4], [1e4], [1], [1], [1e-4], [1e-4]]),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("tau", [0.0, 0.5, 0.7, 1.0, 2.0])
def test_the_logits_are_those_of_the_paper(name: str, tau: float) -> None:
    features = DRAWS.standard_normal((7, 5))
    head = TauNorm({"tau": tau}, COUNTS).head(classifier(WEIGHTS[name]))
    found = head(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(found, formula(WEIGHTS[name], features, tau), rtol=1e-10, atol=1e-10)


def test_tau_zero_is_the_classifier_without_its_bias() -> None:
    layer = nn.Linear(5, 6)
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(TauNormalisedClassifier(layer, {"tau": 0.0})(features), features @ layer.weight.T)


def test_tau_one_gives_class_vectors_of_length_one() -> None:
    head = TauNormalisedClassifier(classifier(WEIGHTS["random"]), {"tau": 1.0})
    vectors = head(torch.eye(5, dtype=torch.float64)).T
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_in_the_history_is_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(TauNorm({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(TauNorm({}, COUNTS))


def test_the_grid_has_21_values_from_0_to_2() -> None:
    np.testing.assert_allclose(STEPS, np.linspace(0, 2, 21), rtol=1e-12, atol=0)


def test_tau_is_the_one_with_the_best_accuracy_on_the_meta_set() -> None:
    check_choice(
        "tau_norm", lambda features, head, numbers: formula(head["weight"], features, numbers["tau"])
    )


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], 0.0),  # both right whatever tau is
        # 3^(1-tau) is less than 2^(1-tau/2) from 0.54 on, and more than 2^(-tau/2) up to 1.46
        ([[1.0, 0.0], [1.0, 1.0]], 0.6),
    ],
)
def test_of_equally_good_values_the_smallest_is_taken(features: list[list[float]], expected: float) -> None:
    vectors = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    logits = (torch.tensor(features) @ tau_normalised(vectors, torch.tensor(tau)).T for tau in STEPS)
    assert choose({"tau": STEPS}, logits, torch.tensor([0, 1])).chosen == {"tau": expected}


def test_only_tau_changes_and_nothing_has_a_gradient() -> None:
    check_nothing_is_trained("tau_norm", set())
    _, model, trainer = retrain("tau_norm")
    assert torch.equal(model.head.get_parameter("weight"), model.network.get_parameter("classifier.weight"))
    assert trainer.method.weights() is None


def test_the_meta_set_passes_the_network_once_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_head_trainer("tau_norm")
    model, network = model_of(trainer), model_of(trainer).network
    features, seen = network.features, []

    def watched(images: torch.Tensor) -> torch.Tensor:
        assert not network.training
        seen.append(len(images))
        return features(images)  # type: ignore[operator]

    monkeypatch.setattr(network, "features", watched)
    trainer.method.start_epoch(model, trainer.data.train, trainer.data.meta)
    assert sum(seen) == len(trainer.data.meta.labels)


def test_a_tau_from_the_settings_stays() -> None:
    before, model, _ = retrain("tau_norm", {"tau": 0.35})
    assert not changed(before, model)
    assert float(model.head.get_buffer("tau")) == pytest.approx(0.35)


def test_it_helps_the_class_of_one_image() -> None:
    _, _, trainer = retrain("tau_norm")
    assert_it_learns_the_class_of_one_image(trainer)


def test_networks_as_a_whole_are_not_its_business() -> None:
    trainer = make_trainer("cross_entropy")
    with pytest.raises(AssertionError):
        TauNorm({}, COUNTS).start_epoch(trainer.model, trainer.data.train, trainer.data.meta)
