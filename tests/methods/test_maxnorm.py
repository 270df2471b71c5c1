"""MaxNorm: every classifier of the grid by an independent loop, its bound, and the choice on the meta set."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from longtail.config.presets.maxnorm import DECAYS, RADII
from longtail.methods.maxnorm import BoundedClassifiers
from longtail.training.schedules import learning_rate
from longtail.training.trainer import Trainer, predict
from tests.support.heads import (
    assert_it_learns_the_class_of_one_image,
    changed,
    frozen_features,
    make_head_trainer,
    model_of,
    retrain,
)

GRID = list(product(RADII, DECAYS))
Classifier = tuple[NDArray[np.float64], NDArray[np.float64]]


def stage_one(trainer: Trainer) -> Classifier:
    layer = model_of(trainer).network.classifier
    return tuple(value.detach().numpy().copy() for value in (layer.weight, layer.bias))  # type: ignore[return-value, union-attr]


def bound(weight: NDArray[np.float64], radius: float) -> float:
    lengths = np.sqrt((weight**2).sum(1))
    return lengths.min() + radius * (lengths.max() - lengths.min())


def projected(weight: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Row by row."""
    return np.stack([row * min(1.0, limit / np.sqrt(row @ row)) for row in weight])


def trained(trainer: Trainer, radius: float, decay: float) -> Classifier:
    """Projected SGD on one classifier, with the batches of `trainer`, by the formulas of the paper."""
    weight, bias = stage_one(trainer)
    limit = bound(weight, radius)
    moved, lifted = np.zeros_like(weight), np.zeros_like(bias)
    weight = projected(weight, limit)
    for step in range(trainer.training.iterations):
        batch = trainer.data.train_batch(step)
        features = frozen_features(model_of(trainer), batch.images).numpy()
        logits = features @ weight.T + bias
        wrong = np.exp(logits - logits.max(1, keepdims=True))
        wrong /= wrong.sum(1, keepdims=True)
        wrong[np.arange(len(features)), batch.labels.numpy()] -= 1
        wrong /= len(features)
        moved = 0.9 * moved + wrong.T @ features + decay * weight
        lifted = 0.9 * lifted + wrong.sum(0) + decay * bias
        rate = learning_rate(trainer.training, step, trainer.data.batches_per_epoch)
        weight = projected(weight - rate * moved, limit)
        bias = bias - rate * lifted
    return weight, bias


def test_every_classifier_is_that_of_projected_gradient_descent_and_the_best_is_chosen() -> None:
    expected = [trained(make_head_trainer("maxnorm", dtype=torch.float64), *own) for own in GRID]
    trainer = make_head_trainer("maxnorm", dtype=torch.float64)
    trainer.run()
    model, meta = model_of(trainer), trainer.data.meta
    for name, values in zip(("weight", "bias"), zip(*expected, strict=True), strict=True):
        found = model.head.get_parameter(name).detach().numpy()
        np.testing.assert_allclose(found, np.stack(values), rtol=1e-8, atol=1e-10)
    features, labels = frozen_features(model, meta.pixels).numpy(), meta.labels.numpy()
    logits = [features @ weight.T + bias for weight, bias in expected]
    right = [int((own.argmax(1) == labels).sum()) for own in logits]
    choice = trainer.method.choice()
    assert choice is not None
    assert choice.meta_accuracy == [count / len(labels) for count in right]
    best = right.index(max(right))
    assert choice.chosen == dict(zip(("radius", "decay"), GRID[best], strict=True))
    np.testing.assert_allclose(predict(model, meta.pixels).numpy(), logits[best], rtol=1e-8, atol=1e-8)
    assert trainer.history.rows[-1]["meta_accuracy"] == pytest.approx(max(right) / len(labels), rel=1e-12)


def test_class_vectors_stay_within_their_bound_and_short_ones_may_grow() -> None:
    trainer = make_head_trainer("maxnorm", {"decay": 0.0}, dtype=torch.float64)
    weight, _ = stage_one(trainer)
    trainer.run()
    lengths = model_of(trainer).head.get_parameter("weight").detach().norm(dim=2).numpy()
    before = np.sqrt((weight**2).sum(1))
    for own, radius in zip(lengths, RADII, strict=True):
        assert own.max() <= bound(weight, radius) * (1 + 1e-12)
    widest = lengths[RADII.index(max(RADII))]
    assert (widest > before + 1e-3).any()


def test_decay_shortens() -> None:
    trainer = make_head_trainer("maxnorm", {"radius": 1e6}, dtype=torch.float64)
    trainer.run()
    squares = model_of(trainer).head.get_parameter("weight").detach().square().sum(dim=(1, 2)).tolist()
    assert squares == sorted(squares, reverse=True)
    assert squares[-1] < 0.8 * squares[0]


def test_without_a_bound_it_is_crt_from_the_trained_classifier() -> None:
    trainer = make_head_trainer("maxnorm", {"radius": 1e6, "decay": 5e-4}, dtype=torch.float64)
    other = make_head_trainer("crt", {"classifier": "copied"}, dtype=torch.float64, weight_decay=5e-4)
    trainer.run()
    other.run()
    images = trainer.data.meta.pixels
    torch.testing.assert_close(
        predict(trainer.model, images), predict(other.model, images), rtol=1e-8, atol=1e-8
    )


def test_a_classifier_beside_others_is_trained_as_one_alone() -> None:
    together, alone = (
        make_head_trainer("maxnorm"),
        make_head_trainer("maxnorm", {"radius": GRID[4][0], "decay": GRID[4][1]}),
    )
    together.run()
    alone.run()
    found, expected = (model_of(own).head.get_parameter("weight") for own in (together, alone))
    torch.testing.assert_close(found[4], expected[0], rtol=1e-4, atol=1e-5)


def test_only_the_classifiers_change() -> None:
    before, model, trainer = retrain("maxnorm")
    assert changed(before, model) - {"head.chosen"} == {"head.weight", "head.bias"}
    assert trainer.method.weights() is None


def test_a_class_vector_of_zeros_stays_finite() -> None:
    layer = torch.nn.Linear(3, 4)
    layer.weight.data[2] = 0
    head = BoundedClassifiers(layer, [0.0, 0.5])
    head.project()
    assert torch.isfinite(head.weight).all()
    assert not head.weight[0].any()  # the shortest has no length, and nothing may be longer
    assert head.weight[1].any()


def test_it_helps_the_class_of_one_image() -> None:
    _, _, trainer = retrain("maxnorm")
    assert_it_learns_the_class_of_one_image(trainer)
