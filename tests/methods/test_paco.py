"""PaCo against its formula, one anchor after the other; its momentum encoder and queue against naive ones."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longtail.config.presets import METHODS
from longtail.config.presets.paco import PRESET, Settings
from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.methods.paco import PaCo, Projection, paco_losses
from longtail.networks import build_network
from longtail.training.batches import TrainingData
from longtail.training.method import Batch, Method, StepInfo, Task
from longtail.training.trainer import Trainer, predict
from tests.support.losses import COUNTS, MOMENT, log_softmax
from tests.support.small_training import CLASSES, META_COUNTS, TRAINING, default_dtype, make_images
from tests.support.small_training import COUNTS as SMALL_COUNTS

Array = NDArray[Any]
Case = tuple[Array, Array, Array, Array, Array, float, float]

C, D, B = 6, 5, 12
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4])  # class 4 once, class 5 never


def unit(rows: int, seed: int) -> Array:
    """Random unit vectors [rows, D]."""
    vectors = np.random.default_rng(seed).standard_normal((rows, D))
    return vectors / np.sqrt((vectors**2).sum(1, keepdims=True))


def formula(
    logits: Array, labels: Array, queries: Array, others: Array, other_labels: Array, alpha: float, t: float
) -> list[float]:
    """-sum_j m_j log softmax(s)_j / sum_j m_j for each anchor, j running over centres and all but itself."""
    losses = []
    for i, y in enumerate(labels):
        s, m = list(logits[i]), [float(c == y) for c in range(logits.shape[1])]
        for vector, label in [
            *((queries[j], labels[j]) for j in range(len(labels)) if j != i),
            *zip(others, other_labels, strict=True),
        ]:
            s.append(sum(a * b for a, b in zip(queries[i], vector, strict=True)) / t)
            m.append(alpha * (label == y))
        log_p = log_softmax(np.array([s]))[0]
        losses.append(-sum(a * b for a, b in zip(m, log_p, strict=True)) / sum(m))
    return losses


def found_losses(
    logits: Array, labels: Array, queries: Array, others: Array, other_labels: Array, alpha: float, t: float
) -> Array:
    """`paco_losses` of arrays."""
    both = torch.from_numpy(np.concatenate([labels, other_labels]).astype(np.int64))
    z, q, k = (torch.from_numpy(values) for values in (logits, queries, others))
    losses = paco_losses(z, q, k, both, alpha, t)
    assert losses.dtype == torch.float64
    assert torch.isfinite(losses).all()
    return losses.numpy()


LOGITS = 4 * np.random.default_rng(3).standard_normal((B, C))
HUGE = 1e4 * np.random.default_rng(4).choice([-1.0, 1.0], (B, C))
NO_VECTORS, NO_LABELS = np.zeros((0, D)), np.zeros(0, dtype=np.int64)
QUEUE, QUEUE_LABELS = unit(20, 7), np.arange(20) % C
KEYS = unit(B, 6)

CASES: dict[str, Case] = {
    "keys and a full queue": (
        LOGITS,
        LABELS,
        unit(B, 5),
        np.concatenate([KEYS, QUEUE]),
        np.concatenate([LABELS, QUEUE_LABELS]),
        0.05,
        0.2,
    ),
    "keys and half a queue": (
        LOGITS,
        LABELS,
        unit(B, 5),
        np.concatenate([KEYS, QUEUE[:10]]),
        np.concatenate([LABELS, QUEUE_LABELS[:10]]),
        0.05,
        0.2,
    ),
    "keys and an empty queue": (LOGITS, LABELS, unit(B, 5), KEYS, LABELS, 0.01, 0.05),
    "the other queries only, one class once": (LOGITS, LABELS, unit(B, 5), NO_VECTORS, NO_LABELS, 0.3, 0.2),
    "logits of 1e4 and -1e4": (HUGE, LABELS, unit(B, 5), KEYS, LABELS, 0.5, 0.05),
    "a very low temperature": (LOGITS, LABELS, unit(B, 5), KEYS, LABELS, 0.5, 1e-4),
    "alpha 0": (LOGITS, LABELS, unit(B, 5), KEYS, LABELS, 0.0, 0.1),
    "one class only": (LOGITS, np.full(B, 2), unit(B, 5), KEYS, np.full(B, 2), 0.05, 0.1),
    "all vectors equal": (LOGITS, LABELS, np.tile(unit(1, 5), (B, 1)), KEYS, LABELS, 0.05, 0.1),
    "one image": (LOGITS[:1], LABELS[:1], unit(1, 5), KEYS[:1], LABELS[:1], 0.05, 0.1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_formula(name: str) -> None:
    np.testing.assert_allclose(found_losses(*CASES[name]), formula(*CASES[name]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.05, 3.0])
def test_without_contrast_it_is_cross_entropy_whatever_alpha(alpha: float) -> None:
    one = slice(0, 1)
    found = found_losses(LOGITS[one], LABELS[one], unit(1, 5), NO_VECTORS, NO_LABELS, alpha, 0.1)
    np.testing.assert_allclose(found, -log_softmax(LOGITS[one])[0, LABELS[0]], rtol=1e-12)


def test_with_alpha_0_the_contrast_adds_its_share_of_the_denominator_to_cross_entropy() -> None:
    logits, labels, queries, others, other_labels, _, t = CASES["keys and a full queue"]
    contrast = np.exp(queries @ np.concatenate([queries, others]).T / t)
    np.fill_diagonal(contrast, 0)
    added = np.log1p(contrast.sum(1) / np.exp(logits).sum(1))
    expected = -log_softmax(logits)[np.arange(B), labels] + added
    found = found_losses(logits, labels, queries, others, other_labels, 0.0, t)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("images", [2, 9])
def test_the_loss_is_least_at_1_over_1_plus_alpha_n_on_the_own_centre(images: int) -> None:
    # n images of the anchor's class at similarity 1, other centres out of reach: softmax is m / sum m
    alpha, t, n = 0.3, 0.5, images - 1
    logits = torch.full((images, 2), -1e4, dtype=torch.float64)
    logits[:, 0] = 1 / t - math.log(alpha)
    logits.requires_grad_()
    vectors = torch.tensor([[0.6, 0.8]], dtype=torch.float64).repeat(images, 1)
    labels = torch.zeros(images, dtype=torch.int64)
    losses = paco_losses(logits, vectors, vectors[:0], labels, alpha, t)
    own, other = 1 / (1 + alpha * n), alpha / (1 + alpha * n)
    entropy = -own * math.log(own) - n * other * math.log(other)
    np.testing.assert_allclose(losses.detach(), entropy, rtol=1e-12)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert float(gradient.abs().max()) < 1e-12


def test_its_gradient_is_that_of_its_values() -> None:
    logits, labels, queries, others, other_labels, alpha, t = CASES["keys and half a queue"]
    both = torch.from_numpy(np.concatenate([labels, other_labels]))
    inputs = [torch.from_numpy(values).requires_grad_() for values in (logits, queries, others)]
    assert torch.autograd.gradcheck(lambda z, q, k: paco_losses(z, q, k, both, alpha, t), inputs)


def test_single_precision_keeps_its_type_and_value() -> None:
    logits, labels, queries, others, other_labels, alpha, t = CASES["keys and a full queue"]
    both = torch.from_numpy(np.concatenate([labels, other_labels]))
    z, q, k = (torch.from_numpy(values).float() for values in (logits, queries, others))
    losses = paco_losses(z, q, k, both, alpha, t)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, formula(*CASES["keys and a full queue"]), rtol=1e-5)


BASE = {"alpha": 0.1, "temperature": 0.5, "queue": 24, "dim": 8, "momentum": 0.8}


def make_trainer(dtype: torch.dtype = torch.float32, noise: float = 1.0, **changes: Any) -> Trainer:
    """A trainer before its first iteration; `changes` are those of `BASE` and of `TRAINING`."""
    mine = {key: changes.pop(key) for key in Settings.model_fields if key in changes}
    training = TRAINING.model_copy(update=changes)
    with default_dtype(dtype):
        task = Task(counts=torch.tensor(SMALL_COUNTS), seed=1, imbalance=24)
        method = PaCo(Settings.model_validate({**BASE, **mine}).model_dump(), task)
        network = method.adapt(build_network("digits_resnet", CLASSES, 1))
    train, meta = make_images(SMALL_COUNTS, 2, dtype, noise), make_images(META_COUNTS, 3, dtype, noise)
    return Trainer(network, method, TrainingData(train, meta, training, method, 1), training, CLASSES)


def method_of(trainer: Trainer) -> PaCo:
    assert isinstance(trainer.method, PaCo)
    return trainer.method


def vectors_of(projection: nn.Module, features: Tensor) -> Array:
    """The four layers one after the other, then unit length."""
    linear, norm, relu, last = projection.children()
    out = last(relu(norm(linear(features)))).detach().numpy()
    return out / np.sqrt((out**2).sum(1, keepdims=True))


@pytest.mark.parametrize("balanced", [False, True], ids=["plain", "balanced"])
@pytest.mark.parametrize("size", [24, 5], ids=["queue", "queue smaller than a batch"])
def test_seven_steps_equal_a_naive_momentum_encoder_and_queue(size: int, balanced: bool) -> None:
    trainer = make_trainer(torch.float64, queue=size, balanced=balanced)
    method, model, data = method_of(trainer), trainer.model, trainer.data
    slow, slow_projection = copy.deepcopy(model), copy.deepcopy(method.projection)
    queue: list[tuple[Array, int]] = []
    prior = np.log(np.array(SMALL_COUNTS) / sum(SMALL_COUNTS)) if balanced else np.zeros(CLASSES)
    lengths = []
    for iteration in range(7):
        batch = data.train_batch(iteration)
        assert batch.second_view is not None
        now, projection = copy.deepcopy(model), copy.deepcopy(method.projection)
        with torch.no_grad():
            for old, new in ((slow, now), (slow_projection, projection)):
                for p, q in zip(old.parameters(), new.parameters(), strict=True):
                    p.copy_(0.8 * p + 0.2 * q)
            keys = vectors_of(slow_projection, slow.features(batch.second_view))  # type: ignore[operator]
            features = now.features(batch.images)  # type: ignore[operator]
            logits = now.classifier(features).numpy() + prior  # type: ignore[operator]
        labels = batch.labels.numpy()
        others = np.stack([*keys, *(key for key, _ in queue)])
        other_labels = np.array([*labels, *(label for _, label in queue)])
        queries = vectors_of(projection, features)
        expected = np.mean(formula(logits, labels, queries, others, other_labels, 0.1, 0.5))
        trainer.optimiser.zero_grad()
        found = method.backward(model, batch, None, MOMENT)["train_loss"]
        assert float(found) == pytest.approx(expected, rel=1e-10)
        trainer.optimiser.step(0.1)
        lengths.append(len(queue))
        queue = [*queue, *zip(keys, labels, strict=True)][-size:]
    assert lengths[0] == 0
    assert lengths[-1] == size
    assert size < 16 or 0 < lengths[1] < size  # batches of 16, 16 and 9: the queue was also half full


def test_the_gradient_reaches_network_and_projection_and_nothing_else() -> None:
    trainer = make_trainer()
    method, batch = method_of(trainer), trainer.data.train_batch(0)
    method.backward(trainer.model, batch, None, MOMENT)
    for value in (*trainer.model.parameters(), *method.projection.parameters()):
        assert value.grad is not None
        assert value.grad.abs().max() > 0
    assert all(value.grad is None for value in method.encoder.parameters())
    trained = {id(value) for value in trainer.optimiser.parameters}
    assert trained == {id(v) for v in (*trainer.model.parameters(), *method.projection.parameters())}
    counts = [value for name, value in trainer.model.named_buffers() if "num_batches" in name]
    assert counts
    assert all(int(value) == 1 for value in counts)  # one forward pass of the first view


def test_the_network_stays_the_plain_one_and_predicts_with_the_centres_logits() -> None:
    trainer = make_trainer(iterations=3, balanced=True)
    plain = build_network("digits_resnet", CLASSES, 1).state_dict()
    assert list(trainer.model.state_dict()) == list(plain)
    found = trainer.model.state_dict().items()
    assert {name for name, value in found if not torch.equal(value, plain[name])} == {
        "classifier.weight",
        "classifier.bias",
    }
    trainer.run()
    images = trainer.data.meta.pixels
    trainer.model.eval()
    with torch.no_grad():
        features = trainer.model.features(images)  # type: ignore[operator]
        expected = trainer.model.classifier(features)  # type: ignore[operator]
    assert torch.equal(predict(trainer.model, images), expected)


def test_balanced_has_the_prior_of_balanced_softmax() -> None:
    logits = torch.from_numpy(LOGITS)
    method: Method = BalancedSoftmax({}, COUNTS)
    labels, none = torch.from_numpy(LABELS), torch.zeros(0, D, dtype=torch.float64)
    prior = PaCo({"balanced": True}, COUNTS).log_prior
    assert float(prior.exp().sum()) == pytest.approx(1, rel=1e-12)
    for i in range(B):  # each anchor alone, without contrast
        one = slice(i, i + 1)
        query = torch.from_numpy(unit(1, i))
        found = paco_losses(logits[one] + prior, query, none, labels[one], 0.05, 0.1)
        expected = method.sample_losses(logits[one], labels[one], MOMENT)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_of_one_image_batchnorm_leaves_its_own_bias() -> None:
    projection = Projection(7, 4).double()
    _, norm, relu, last = projection.children()
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        norm.get_parameter("bias").normal_(generator=draws)
        found = projection(torch.randn(1, 7, dtype=torch.float64, generator=draws))
        expected = last(relu(norm.get_parameter("bias")))[None]
    torch.testing.assert_close(found, expected / expected.norm(), rtol=1e-12, atol=1e-12)


def test_a_last_batch_of_one_image_can_be_trained() -> None:
    trainer = make_trainer(iterations=6, batch_size=20)  # 41 images: 20, 20, 1
    assert len(trainer.data.train_batch(2).labels) == 1
    trainer.run()
    assert math.isfinite(trainer.history.rows[-1]["train_loss"])


def test_the_projection_is_drawn_from_the_seed_alone() -> None:
    states = []
    with torch.random.fork_rng(devices=[]):
        for seed in (8, 9):
            torch.default_generator.manual_seed(seed)
            states.append(method_of(make_trainer()).projection.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def everything(trainer: Trainer) -> list[Tensor]:
    """All tensors that a resumed training must have."""
    method = method_of(trainer)
    modules = (trainer.model, method.projection, method.encoder)
    # model: buffers too; of projection and encoder, whose BatchNorm always takes the batch, what is trained
    states = [trainer.model.state_dict(), *(dict(module.named_parameters()) for module in modules[1:])]
    tensors = [value.detach() for state in states for value in state.values()]
    return [*tensors, method.queue, method.queue_labels, torch.tensor(method.enqueued)]


def resumed(without: str | None = None) -> tuple[Trainer, Trainer]:
    """Nine iterations at a stretch, and six of one training with three of another; `without`: not told."""
    straight, begun, fresh = (make_trainer(iterations=9) for _ in range(3))
    straight.run()
    states: list[dict[str, Any]] = []

    def keep(now: Trainer) -> None:
        if now.iteration == 6:
            states.append(copy.deepcopy(now.state()))

    begun.run(after_epoch=keep)
    (state,) = states
    if without is not None:
        state["method"][without] = copy.deepcopy(fresh.method.state()[without])
    fresh.load_state(state)
    fresh.run()
    return straight, fresh


def test_six_steps_a_state_and_three_more_are_nine_to_the_bit() -> None:
    straight, fresh = resumed()
    for one, other in zip(everything(straight), everything(fresh), strict=True):
        assert torch.equal(one, other)
    rows = [{k: v for k, v in t.history.rows[-1].items() if v == v} for t in (straight, fresh)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("part", ["projection", "encoder", "queue", "queue_labels", "enqueued"])
def test_every_part_of_the_state_is_needed(part: str) -> None:
    straight, fresh = resumed(without=part)
    pairs = zip(straight.model.parameters(), fresh.model.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("variant", PRESET.variants)
def test_a_training_lowers_the_loss_and_beats_chance_on_a_small_class(variant: str) -> None:
    trainer = make_trainer(iterations=240, noise=0.5, alpha=0.02, **PRESET.variants[variant])
    trainer.run()
    rows = trainer.history.rows
    assert rows[-1]["train_loss"] < 0.7 * rows[1]["train_loss"]
    assert rows[-1]["accuracy"][2] > 1 / CLASSES  # of five training images


def test_a_second_view_is_asked_for() -> None:
    trainer = make_trainer()
    assert trainer.data.train_batch(0).second_view is not None
    batch = trainer.data.train_batch(0)
    with pytest.raises(AssertionError, match="second view"):
        method_of(trainer).backward(
            trainer.model, Batch(batch.images, batch.labels), None, StepInfo(0, 1, 0.1)
        )


def start_of(network: nn.Module) -> tuple[nn.Module, PaCo]:
    settings = Settings.model_validate({}).model_dump()
    method = PaCo(settings, Task(torch.ones(100, dtype=torch.int64), seed=1, imbalance=1))
    return method.adapt(network), method


def test_centres_start_as_linear_layers_do_and_the_projections_last_layer_kaiming_normal() -> None:
    network, method = start_of(build_network("resnet32", 100, 1))
    centres, last = (
        network.get_parameter("classifier.weight").detach(),
        method.projection.get_parameter("3.weight").detach(),
    )
    assert float(centres.std()) == pytest.approx(1 / math.sqrt(3 * 64), rel=0.03)
    assert float(centres.abs().max()) <= 1 / math.sqrt(64)
    assert float(last.std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    again, _ = start_of(build_network("resnet32", 100, 1))
    assert torch.equal(again.get_parameter("classifier.weight"), centres)


@pytest.mark.parametrize("benchmark", ["imagenet-lt", "places-lt"])
def test_on_photographs_the_settings_are_those_of_the_release(benchmark: str) -> None:
    preset = METHODS["paco"]
    found = preset.resolve("paco", benchmark, 256, {}, 0.3)
    expected = {"alpha": 0.05, "temperature": 0.2, "queue": 8192, "dim": 128, "momentum": 0.999}
    assert found == {**expected, "balanced": False}
    # on Places-LT both views are made in one way
    views = {"augment": "photo_view"} if benchmark == "places-lt" else {}
    assert preset.training_on(benchmark) == views
