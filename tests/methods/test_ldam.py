"""LDAM: margins, loss and cosines as published, its limits, and the weights that DRW defers."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from longtail.config.training import Steps
from longtail.methods.ldam import LDAM, margins
from longtail.networks import build_network
from longtail.networks.cosine import CosineClassifier
from longtail.training.method import StepInfo, Task
from longtail.training.trainer import Trainer, predict
from tests.support.losses import CASES, CLASSES, COUNTS, EQUAL, MOMENT, check_gradient, found_losses
from tests.support.losses import log_softmax as numpy_log_softmax
from tests.support.small_training import CLASSES as FEW
from tests.support.small_training import make_trainer

EARLY, LATE = StepInfo(79, 100, 0.1), StepInfo(80, 100, 0.1)
DRW = {"drw": True, "drw_beta": 0.99}


def formula(name: str, counts: list[int], margin: float, scale: float) -> NDArray[np.float64]:
    """One image after the other, as METHODS writes it; logits are s cos theta."""
    logits, labels = CASES[name]
    largest = max(n ** (-1 / 4) for n in counts)
    losses = []
    for row, y in zip(logits, labels.tolist(), strict=True):
        moved = row.copy()
        moved[y] -= scale * margin * counts[y] ** (-1 / 4) / largest
        losses.append(-numpy_log_softmax(moved[None])[0, y])
    return np.array(losses)


def effective_weights(counts: list[int], beta: float) -> NDArray[np.float64]:
    w = np.array([(1 - beta) / (1 - beta**n) for n in counts])
    return w * len(counts) / w.sum()


def found_batch_loss(method: LDAM, name: str, info: StepInfo) -> float:
    logits, labels = CASES[name]
    return float(method.batch_loss(torch.from_numpy(logits), torch.from_numpy(labels), info))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("margin", "scale"), [(0.5, 30.0), (0.3, 7.0)])
def test_the_losses_are_those_of_the_paper(name: str, margin: float, scale: float) -> None:
    expected = formula(name, COUNTS.counts.tolist(), margin, scale)
    method = LDAM({"max_margin": margin, "scale": scale}, COUNTS)
    np.testing.assert_allclose(found_losses(method, name), expected, rtol=1e-10, atol=1e-10)
    assert found_batch_loss(method, name, MOMENT) == pytest.approx(expected.mean(), rel=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("task", [COUNTS, EQUAL], ids=["tail", "equal counts"])
def test_without_a_margin_it_is_cross_entropy_of_the_cosines(name: str, task: Task) -> None:
    logits, labels = CASES[name]
    expected = -numpy_log_softmax(logits)[np.arange(len(labels)), labels]
    found = found_losses(LDAM({"max_margin": 0.0}, task), name)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_margins_grow_to_the_largest_with_the_fourth_root() -> None:
    found = margins(torch.tensor([16 * 81, 81, 16, 1]), 0.6)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.6], rtol=1e-12)
    assert margins(COUNTS.counts, 0.0).abs().max() == 0
    np.testing.assert_allclose(margins(EQUAL.counts, 0.5), [0.5] * CLASSES, rtol=1e-12)


def test_the_margin_of_the_own_class_makes_its_loss_larger() -> None:
    with_margin, without = (found_losses(LDAM({"max_margin": m}, COUNTS), "random logits") for m in (0.5, 0))
    assert (with_margin > without).all()


@pytest.mark.parametrize("info", [EARLY, LATE], ids=["before DRW", "in DRW"])
def test_its_gradient_is_that_of_its_values(info: StepInfo) -> None:
    method = LDAM(DRW, COUNTS)
    check_gradient(method)
    logits, labels = CASES["random logits"]
    some = torch.from_numpy(logits[:7]).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: method.batch_loss(z, torch.from_numpy(labels[:7]), info), some)


@pytest.mark.parametrize("name", CASES)
def test_drw_is_uniform_before_its_start_and_weighs_by_the_effective_number_after(name: str) -> None:
    labels = CASES[name][1]
    losses = formula(name, COUNTS.counts.tolist(), 0.5, 30)
    weights = effective_weights(COUNTS.counts.tolist(), 0.99)[labels]
    assert weights.max() / weights.min() > 10 or len(labels) == 1
    method = LDAM(DRW, COUNTS)
    assert found_batch_loss(method, name, EARLY) == pytest.approx(losses.mean(), rel=1e-10)
    late = (weights * losses).sum() / weights.sum()
    assert found_batch_loss(method, name, LATE) == pytest.approx(late, rel=1e-10)
    assert found_batch_loss(LDAM({}, COUNTS), name, LATE) == pytest.approx(losses.mean(), rel=1e-10)


@pytest.mark.parametrize(
    ("settings", "task"),
    [({"drw": True, "drw_beta": 0.0}, COUNTS), (DRW, EQUAL), ({**DRW, "drw_start": 1.0}, COUNTS)],
    ids=["beta 0", "equal counts", "never starts"],
)
def test_where_drw_weighs_all_alike_it_is_plain_ldam(settings: dict[str, Any], task: Task) -> None:
    plain = found_batch_loss(LDAM({}, task), "random logits", LATE)
    assert found_batch_loss(LDAM(settings, task), "random logits", LATE) == pytest.approx(plain, rel=1e-12)


def test_logits_are_scaled_cosines_whatever_the_lengths() -> None:
    torch.manual_seed(0)
    classifier = CosineClassifier(5, 3, 30.0).double()
    features = torch.randn(7, 5, dtype=torch.float64)
    w, h = classifier.weight.detach().numpy(), features.numpy()
    cosines = h @ w.T / np.outer(np.linalg.norm(h, axis=1), np.linalg.norm(w, axis=1))
    np.testing.assert_allclose(classifier(features).detach(), 30 * cosines, rtol=1e-10, atol=1e-12)
    before = classifier(features)
    with torch.no_grad():
        classifier.weight.mul_(torch.tensor([[0.1], [3.0], [50.0]], dtype=torch.float64))
    torch.testing.assert_close(classifier(1000 * features), before, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(classifier, features.requires_grad_())


def test_class_vectors_start_with_length_1_and_a_feature_of_zeros_does_no_harm() -> None:
    classifier = CosineClassifier(5, 3, 30.0)
    torch.testing.assert_close(classifier.weight.norm(dim=1), torch.ones(3))
    features = torch.zeros(2, 5, requires_grad=True)
    logits = classifier(features)
    logits[:, 0].sum().backward()
    assert (logits == 0).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_adapt_puts_cosines_on_the_same_features_and_draws_from_the_seed_alone() -> None:
    networks: list[nn.Module] = []
    for seed in (1, 1, 2):
        network = build_network("digits_resnet", CLASSES, 7)
        features = network.state_dict()["conv.weight"].clone()
        task = Task(counts=COUNTS.counts, seed=seed, imbalance=100)
        adapted = LDAM({"scale": 12.0}, task).adapt(network)
        assert isinstance(adapted.classifier, CosineClassifier)
        assert (adapted.classifier.bias, adapted.classifier.scale) == (None, 12.0)
        assert torch.equal(adapted.state_dict()["conv.weight"], features)
        networks.append(adapted)
        torch.rand(1)  # the global state must not matter
    one, again, other = (network.state_dict()["classifier.weight"] for network in networks)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def ldam_trainer(settings: dict[str, Any], **changes: Any) -> Trainer:
    """`make_trainer`, on the network that LDAM asks for."""
    made = make_trainer("ldam", settings, **changes)
    return Trainer(made.method.adapt(made.model), made.method, made.data, made.training, FEW)


SCHEDULE = Steps(start=0.05, peak=0.1, warmup=5, milestones=(48,))


@pytest.mark.parametrize("settings", [{"scale": 10.0}, {"scale": 10.0, **DRW}], ids=["LDAM", "LDAM-DRW"])
def test_it_learns_few_shot_classes_too(settings: dict[str, Any]) -> None:
    trainer = ldam_trainer(settings, noise=0.5, iterations=60, schedule=SCHEDULE)
    trainer.run()
    rows = trainer.history.rows
    before_drw = rows[16]  # 3 iterations an epoch
    assert before_drw["train_loss"] < rows[1]["train_loss"] / 4
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / FEW
    logits = predict(trainer.model, trainer.data.meta.pixels)
    assert logits.abs().max() <= 10 * (1 + 1e-6)


def test_the_weights_of_the_history_are_those_in_force() -> None:
    trainer = ldam_trainer({"drw_start": 0.5, **DRW})
    trainer.run()
    found = {row["iteration"]: row["weight"] for row in trainer.history.rows}
    assert sorted(found) == [0, 3, 6, 9, 12]
    for iteration in (0, 3, 6):
        assert found[iteration] == [1.0] * FEW
    for iteration in (9, 12):
        np.testing.assert_allclose(found[iteration], effective_weights([24, 11, 5, 1], 0.99), rtol=1e-10)
    plain = ldam_trainer({}, iterations=1)
    plain.run()
    assert plain.history.rows[-1]["weight"] is None


def test_a_training_goes_on_from_its_state_to_the_same_bits() -> None:
    whole, part, rest = (ldam_trainer({"drw_start": 0.5, **DRW}) for _ in range(3))
    whole.run()
    state: dict[str, Any] = {}

    def stop(trainer: Trainer) -> None:
        if trainer.iteration == 9:
            state.update(copy.deepcopy(trainer.state()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part.run(after_epoch=stop)
    rest.load_state(state)
    assert (rest.method.weights() == part.method.weights()).all()
    rest.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], value), name
    assert rest.history.rows[-1]["weight"] == whole.history.rows[-1]["weight"]
