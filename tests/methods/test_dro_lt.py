"""DRO-LT against its formula, class by class; centroids, radii and what an exact resume needs."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.config.presets import METHODS
from longtail.methods.dro_lt import DROLT, class_centroids, robust_loss
from longtail.training.batches import Images
from longtail.training.method import StepInfo
from longtail.training.samplers import ClassAwareSampler
from longtail.training.trainer import Trainer
from tests.support.losses import log_softmax
from tests.support.small_training import CLASSES, COUNTS, make_trainer

Array = NDArray[Any]
Case = tuple[Array, Array, Array, Array, float]
MOMENT = StepInfo(iteration=0, iterations=100, learning_rate=0.1)

C, F, B = 6, 5, 12
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4])  # class 4 once, class 5 never
_draws = np.random.default_rng(2)
FEATURES, CENTROIDS = _draws.standard_normal((B, F)), _draws.standard_normal((C, F))
RADII = np.array([1.0, 0.2, 0.0, 3.0, 0.7, -0.4])


def formula(features: Array, labels: Array, mu: Array, eps: Array, t: float) -> float:
    """Mean over the classes in the batch, and over their images, of -log softmax over the batch's images."""
    of_classes = []
    for c in sorted(set(labels.tolist())):
        scores = [
            -(math.sqrt(sum((a - b) ** 2 for a, b in zip(mu[c], z, strict=True))) + eps[c] * (y == c)) / t
            for z, y in zip(features, labels, strict=True)
        ]
        log_p = log_softmax(np.array([scores]))[0]
        of_classes.append(-np.mean([log_p[i] for i, y in enumerate(labels) if y == c]))
    return float(np.mean(of_classes))


def found_loss(features: Array, labels: Array, mu: Array, eps: Array, t: float) -> float:
    """`robust_loss` of arrays."""
    z, y, centroids, radii = (torch.from_numpy(values) for values in (features, labels, mu, eps))
    loss = robust_loss(z, y, centroids, radii, t)
    assert loss.dtype == torch.float64
    assert loss.shape == ()
    assert torch.isfinite(loss)
    return float(loss)


CASES: dict[str, Case] = {
    "random features": (FEATURES, LABELS, CENTROIDS, RADII, 0.5),
    "the least temperature of the release": (FEATURES, LABELS, CENTROIDS, RADII, 0.07),
    "distances of 1e4": (1e4 * FEATURES, LABELS, CENTROIDS, RADII, 0.07),
    "radii of 1e4 and -1e4": (FEATURES, LABELS, CENTROIDS, 1e4 * np.sign(RADII), 0.07),
    "two classes only": (FEATURES, np.where(LABELS > 1, 1, 5), CENTROIDS, RADII, 0.5),
    "one class only": (FEATURES, np.full(B, 3), CENTROIDS, RADII, 0.5),
    "every image another class": (FEATURES[:C], np.arange(C)[::-1].copy(), CENTROIDS, RADII, 0.5),
    "one image": (FEATURES[:1], LABELS[:1], CENTROIDS, RADII, 0.5),
    "identical features": (np.tile(FEATURES[:1], (B, 1)), LABELS, CENTROIDS, RADII, 0.5),
    "features on their centroids": (CENTROIDS[LABELS], LABELS, CENTROIDS, RADII, 0.5),
    "the only image of a class far away": (
        FEATURES + 1e3 * (LABELS == 4)[:, None],
        LABELS,
        CENTROIDS,
        RADII,
        0.5,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_formula(name: str) -> None:
    np.testing.assert_allclose(found_loss(*CASES[name]), formula(*CASES[name]), rtol=1e-10, atol=1e-10)


def test_the_radius_of_a_class_is_subtracted_from_its_own_distance() -> None:
    # the release takes distances in the order of classes and radii in that of the batch: a slip
    features, labels = np.array([[0.0], [2.0]]), np.array([1, 0])
    mu, eps = np.array([[1.0], [0.0]]), np.array([0.0, 1.0])
    assert found_loss(features, labels, mu, eps, 1.0) == pytest.approx(0.503204, abs=5e-7)
    distances = abs(mu - features.T)  # [class, image]
    mispaired = distances + np.where(labels == [[0], [1]], eps[labels][:, None], 0)
    log_p = log_softmax(-mispaired.astype(np.float64))
    assert -(log_p[0, 1] + log_p[1, 0]) / 2 == pytest.approx(0.720095, abs=5e-7)


def test_single_precision_keeps_its_type_and_value() -> None:
    z, mu, eps = (torch.from_numpy(values).float() for values in (FEATURES, CENTROIDS, RADII))
    loss = robust_loss(z, torch.from_numpy(LABELS), mu, eps, 0.5)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(formula(FEATURES, LABELS, CENTROIDS, RADII, 0.5), rel=1e-5)


def test_identical_features_cost_what_the_radius_and_the_number_of_images_say() -> None:
    # every score of a class is the same but for its own radius: -log of 1 / (n + (B - n) e^{eps/T})
    features, labels, mu, eps, t = CASES["identical features"]
    counts = np.bincount(labels, minlength=C)
    expected = np.mean([np.log(n + (B - n) * np.exp(e / t)) for n, e in zip(counts, eps, strict=True) if n])
    assert found_loss(features, labels, mu, eps, t) == pytest.approx(expected, rel=1e-12)


def test_a_batch_of_one_image_costs_nothing() -> None:
    assert found_loss(*CASES["one image"]) == 0


@pytest.mark.parametrize("n", [1, 4])
def test_the_least_loss_of_a_class_is_the_log_of_its_images(n: int) -> None:
    # all its images on the centroid, everything else out of reach
    labels = np.where(np.arange(B) < n, 0, 1)
    features = np.where(labels[:, None] == 0, 0.0, 1e4) * np.ones(F)
    mu = np.array([[0.0], [1e4]]) * np.ones(F)
    expected = (math.log(n) + math.log(B - n)) / 2
    assert found_loss(features, labels, mu, np.zeros(2), 0.1) == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_its_values() -> None:
    z, mu, eps = (torch.from_numpy(v).requires_grad_() for v in (FEATURES, CENTROIDS, RADII))
    labels = torch.from_numpy(LABELS)
    assert torch.autograd.gradcheck(lambda z, mu, eps: robust_loss(z, labels, mu, eps, 0.5), (z, mu, eps))


@pytest.mark.parametrize("name", ["features on their centroids", "identical features", "one image"])
def test_at_distance_0_the_gradient_is_finite(name: str) -> None:
    z, labels, mu, eps, t = CASES[name]
    if name == "identical features":
        mu = np.tile(z[:1], (C, 1))
    features = torch.from_numpy(z).requires_grad_()
    radii = torch.from_numpy(eps).requires_grad_()
    robust_loss(features, torch.from_numpy(labels), torch.from_numpy(mu), radii, t).backward()
    assert features.grad is not None
    assert radii.grad is not None
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(radii.grad).all()


def test_a_radius_only_ever_shrinks_by_the_share_that_other_classes_have_of_its_softmax() -> None:
    # dL/d eps_c = (1 - p_c) / (T classes), p_c the softmax's mass on the class's own images: never negative
    radii = torch.from_numpy(RADII).requires_grad_()
    arrays = FEATURES, LABELS, CENTROIDS
    z, labels, mu = (torch.from_numpy(values) for values in arrays)
    robust_loss(z, labels, mu, radii, 0.5).backward()
    expected = np.zeros(C)
    for c in range(5):
        own = c == LABELS
        distances = np.sqrt(((CENTROIDS[c] - FEATURES) ** 2).sum(1))
        weight = np.exp(-(distances + RADII[c] * own) / 0.5)
        expected[c] = weight[~own].sum() / weight.sum() / (0.5 * 5)
    assert radii.grad is not None
    np.testing.assert_allclose(radii.grad.numpy(), expected, rtol=1e-10, atol=1e-14)
    assert (expected[:5] > 0).all()


SETTINGS = {"temperature": 2.0}


def method_of(trainer: Trainer) -> DROLT:
    assert isinstance(trainer.method, DROLT)
    return trainer.method


def naive_centroids(trainer: Trainer) -> Array:
    """One image after the other, without augmentation, in evaluation mode."""
    model = copy.deepcopy(trainer.model).eval()
    with torch.no_grad():
        features = [model.features(x[None])[0].numpy() for x in trainer.data.train.pixels]  # type: ignore[operator]
    labels = trainer.data.train.labels.numpy()
    of = [[f for f, y in zip(features, labels, strict=True) if y == c] for c in range(CLASSES)]
    return np.stack([np.mean(own, axis=0) for own in of])


@pytest.mark.parametrize("training", [True, False], ids=["training mode", "evaluation mode"])
def test_centroids_are_means_in_evaluation_mode_and_the_model_stays_as_it_was(training: bool) -> None:
    trainer = make_trainer("dro_lt", SETTINGS, dtype=torch.float64, iterations=3)
    trainer.run()
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.model.train(training)
    method_of(trainer).start_epoch(trainer.model, trainer.data.train, trainer.data.meta)
    found = method_of(trainer).centroids
    assert not found.requires_grad
    np.testing.assert_allclose(found, naive_centroids(trainer), rtol=1e-10, atol=1e-12)
    assert all(module.training == training for module in trainer.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_many_images_are_averaged_in_parts_and_a_missing_class_has_zeros() -> None:
    trainer = make_trainer("dro_lt", SETTINGS, dtype=torch.float64)
    pixels = trainer.data.train.pixels.repeat(30, 1, 1, 1)  # 1230 images: more than one part
    labels = trainer.data.train.labels.repeat(30)
    found = class_centroids(trainer.model, Images(pixels, labels), CLASSES + 1)
    np.testing.assert_allclose(found[:CLASSES], naive_centroids(trainer), rtol=1e-10, atol=1e-12)
    assert (found[CLASSES] == 0).all()


def test_centroids_are_made_anew_each_epoch_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer("dro_lt", SETTINGS, dtype=torch.float64, iterations=18)  # 6 an epoch
    method = method_of(trainer)
    expected: list[Array] = []
    used: list[Array] = []
    start, backward = method.start_epoch, method.backward

    def starting(*arguments: Any) -> None:
        expected.append(naive_centroids(trainer))
        start(*arguments)

    def stepping(*arguments: Any) -> dict[str, Tensor]:
        used.append(method.centroids.numpy().copy())
        return backward(*arguments)

    monkeypatch.setattr(method, "start_epoch", starting)
    monkeypatch.setattr(method, "backward", stepping)
    trainer.run()
    assert len(expected) == 3
    assert np.abs(expected[2] - expected[0]).max() > 1e-3
    for iteration, found in enumerate(used):
        np.testing.assert_allclose(found, expected[iteration // 6], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_step_is_cross_entropy_plus_the_weighted_robust_loss(weight: float) -> None:
    trainer = make_trainer("dro_lt", {**SETTINGS, "weight": weight}, dtype=torch.float64)
    method, batch = method_of(trainer), trainer.data.train_batch(0)
    method.start_epoch(trainer.model, trainer.data.train, trainer.data.meta)
    with torch.no_grad():
        features = copy.deepcopy(trainer.model).features(batch.images)  # type: ignore[operator]
        logits = trainer.model.classifier(features)  # type: ignore[operator]
    labels = batch.labels.numpy()
    robust = formula(features.numpy(), labels, method.centroids.numpy(), np.ones(CLASSES), 2.0)
    losses = -log_softmax(logits.numpy())[np.arange(len(labels)), labels]
    # a class counts as often as it does among the training images, though batches are class-aware
    weighted = np.average(losses, weights=np.array(COUNTS)[labels] / max(COUNTS))
    found = method.backward(trainer.model, batch, None, MOMENT)["train_loss"]
    assert float(found) == pytest.approx(weighted + weight * robust, rel=1e-10)
    counts = [value for name, value in trainer.model.named_buffers() if "num_batches" in name]
    assert counts
    assert all(int(value) == 1 for value in counts)


def test_its_settings_are_those_of_the_command_that_the_release_gives() -> None:
    preset = METHODS["dro_lt"]
    assert preset.resolve("dro_lt", "cifar100-lt", 100, {}, 0.3) == {"weight": 1.0, "temperature": 1.0}
    sampler = make_trainer("dro_lt").data.sampler
    assert isinstance(sampler, ClassAwareSampler)
    assert sampler.per_class == 4


def test_the_radii_start_at_1_and_are_trained() -> None:
    trainer = make_trainer("dro_lt", SETTINGS)
    radii = method_of(trainer).radii
    assert (radii == 1).all()
    assert any(parameter is radii for parameter in trainer.optimiser.parameters)
    trainer.run()
    assert (radii < 0.99).all()


def test_a_batch_of_one_image_can_be_trained() -> None:
    # 41 images: 20, 20, 1
    trainer = make_trainer("dro_lt", SETTINGS, sampler="shuffled", iterations=6, batch_size=20)
    assert len(trainer.data.train_batch(2).labels) == 1
    trainer.run()
    assert math.isfinite(trainer.history.rows[-1]["train_loss"])


def resumed(radii: bool = True) -> tuple[Trainer, Trainer]:
    """Nine iterations at a stretch, and six of one training with three of another."""
    straight, begun, fresh = (make_trainer("dro_lt", SETTINGS, iterations=9) for _ in range(3))
    straight.run()
    states: list[dict[str, Any]] = []

    def keep(now: Trainer) -> None:
        if now.iteration == 6:
            states.append(copy.deepcopy(now.state()))

    begun.run(after_epoch=keep)
    (state,) = states
    if not radii:
        state["method"] = copy.deepcopy(fresh.method.state())
    fresh.load_state(state)
    fresh.run()
    return straight, fresh


def equal_tensors(one: Trainer, other: Trainer) -> list[bool]:
    """Whether each tensor of the one is that of the other to the bit."""
    states = one.model.state_dict(), other.model.state_dict()
    same = [torch.equal(value, states[1][name]) for name, value in states[0].items()]
    return [*same, torch.equal(method_of(one).radii, method_of(other).radii)]


def test_six_steps_a_state_and_three_more_are_nine_to_the_bit() -> None:
    assert all(equal_tensors(*resumed()))


def test_a_resume_without_the_radii_would_be_noticed() -> None:
    assert not all(equal_tensors(*resumed(radii=False))[:-1])


def test_a_training_lowers_the_loss_and_beats_chance_on_small_classes() -> None:
    trainer = make_trainer("dro_lt", SETTINGS, iterations=60, noise=0.4)
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < 0.7 * rows[1]["train_loss"]
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / CLASSES  # of five training images, and of one
