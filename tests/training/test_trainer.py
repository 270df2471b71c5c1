"""The training loop: resumable to the byte, repeatable, honest about divergence."""

import copy
import io
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.config import presets
from longtail.errors import DivergedError
from longtail.training.method import Batch, StepInfo
from longtail.training.trainer import Trainer, class_accuracy, predict
from tests.support.small_training import CLASSES, COUNTS, make_trainer

METHODS = ["cross_entropy", "difficulty_net", "crt"]
SETTINGS = {"difficulty_net": {"hidden": 8, "learning_rate": 3e-2}}
ITERATIONS, PER_EPOCH = 14, 3  # the last epoch has two iterations only


def fresh(method: str, **changes: Any) -> Trainer:
    # easy images: the best accuracy is reached before the end
    return make_trainer(method, SETTINGS.get(method), **{"noise": 0.5, "iterations": ITERATIONS, **changes})


def result(trainer: Trainer) -> dict[str, Any]:
    """Everything that a training gives, comparable bit by bit."""
    rows = [{name: repr(value) for name, value in row.items()} for row in trainer.history.rows]
    return {
        "model": {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()},
        "selected": {name: value.numpy().tobytes() for name, value in trainer.selected.items()},
        "selected_iteration": trainer.selected_iteration,
        "best": trainer.best,
        "iteration": trainer.iteration,
        "history": rows,
        "method": repr(trainer.method.difficulty()),
    }


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint writes and reads it, without pickled code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@cache
def whole(method: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of an uninterrupted training, and its state after each epoch."""
    trainer, states = fresh(method), []
    trainer.run(after_epoch=lambda now: states.append(through_a_file(now.state())))
    return result(trainer), states


def resumed(method: str, state: dict[str, Any]) -> Trainer:
    trainer = fresh(method)
    trainer.load_state(copy.deepcopy(state))
    trainer.run()
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_resuming_after_any_epoch_ends_in_the_same_bytes(method: str) -> None:
    expected, states = whole(method)
    assert len(states) == (5 if method != "crt" else 3)
    for state in states:
        assert result(resumed(method, state)) == expected


FIELDS = [
    ("model",),
    ("optimiser",),
    ("method",),
    ("method", "net"),
    ("method", "optimiser"),
    ("method", "accuracy"),
    ("iteration",),
    ("history",),
    ("selected",),
    ("selected_iteration",),
    ("best",),
]


def test_every_field_of_the_state_is_listed_here() -> None:
    state = whole("difficulty_net")[1][0]
    assert {field[0] for field in FIELDS} | {"seconds", "sums"} == set(state)
    assert state["sums"] == {}, "between epochs"
    assert {field[1] for field in FIELDS if len(field) == 2} == set(state["method"])


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_a_resume_that_loses_one_field_is_noticed(field: tuple[str, ...]) -> None:
    expected, states = whole("difficulty_net")
    after = 3  # epochs
    assert expected["selected_iteration"] <= after * PER_EPOCH, "the best must lie before, or 'best' is idle"
    state, empty = copy.deepcopy(states[after - 1]), fresh("difficulty_net").state()
    inner, source = state, empty
    for name in field[:-1]:
        inner, source = inner[name], source[name]
    inner[field[-1]] = source[field[-1]]
    assert result(resumed("difficulty_net", state)) != expected


def test_the_time_of_earlier_sittings_counts() -> None:
    state = copy.deepcopy(whole("cross_entropy")[1][1])
    state["seconds"] = 1000.0
    assert resumed("cross_entropy", state).seconds > 1000


@pytest.mark.parametrize("method", METHODS)
def test_training_twice_gives_the_same_bytes_whatever_the_global_state(method: str) -> None:
    torch.manual_seed(77)
    trainer = fresh(method)
    torch.rand(5)
    before = torch.get_rng_state()
    trainer.run()
    assert result(trainer) == whole(method)[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_gives_another_training(method: str) -> None:
    trainer = fresh(method, seed=2)
    trainer.run()
    found, expected = result(trainer), whole(method)[0]
    assert found["model"] != expected["model"]
    assert found["history"] != expected["history"]


class Watched:
    """Notes the accuracies that a method is told, and those in force at each step."""

    def __init__(self, trainer: Trainer) -> None:
        self.told: list[Tensor] = []
        self.in_force: list[list[float]] = []
        method = trainer.method
        refresh, backward = method.refresh, method.backward

        def watched_refresh(accuracy: Tensor) -> None:
            self.told.append(accuracy.clone())
            refresh(accuracy)

        def watched_backward(*arguments: Any) -> dict[str, Tensor]:
            self.in_force.append(method.accuracy.tolist())  # type: ignore[attr-defined]
            return backward(*arguments)

        method.refresh = watched_refresh
        method.backward = watched_backward  # type: ignore[method-assign]


def test_accuracies_are_zero_in_the_first_epoch_and_measured_after_each() -> None:
    trainer = fresh("difficulty_net", noise=2.0)
    watched = Watched(trainer)
    weights: list[dict[str, Tensor]] = []
    trainer.run(after_epoch=lambda now: weights.append(copy.deepcopy(now.model.state_dict())))
    assert watched.in_force[:PER_EPOCH] == [[0.0] * CLASSES] * PER_EPOCH
    assert trainer.history.rows[0]["accuracy"] == [0.0] * CLASSES
    assert trainer.history.rows[0]["weight"] == [1.0] * CLASSES
    assert [row["iteration"] for row in trainer.history.rows] == [0, 3, 6, 9, 12, 14]
    assert [row["epoch"] for row in trainer.history.rows] == list(range(6))
    labels = trainer.data.meta.labels
    for epoch, state in enumerate(weights):
        trainer.model.load_state_dict(state)
        trainer.model.eval()
        with torch.no_grad():
            right = trainer.model(trainer.data.meta.pixels).argmax(1) == labels
        expected = [float(right[labels == c].double().mean()) for c in range(CLASSES)]
        row = trainer.history.rows[epoch + 1]
        assert row["accuracy"] == pytest.approx(expected, rel=1e-12)
        assert row["meta_accuracy"] == pytest.approx(sum(expected) / CLASSES, rel=1e-12)
        assert watched.told[epoch].tolist() == row["accuracy"]
        for in_force in watched.in_force[(epoch + 1) * PER_EPOCH : (epoch + 2) * PER_EPOCH]:
            assert in_force == pytest.approx(expected, rel=1e-6)  # held in single precision
    assert len({tuple(row["accuracy"]) for row in trainer.history.rows}) > 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_selected_weights_are_the_first_of_the_best_meta_accuracy(seed: int) -> None:
    trainer = fresh("cross_entropy", noise=2.0, seed=seed)
    weights: list[dict[str, Tensor]] = []
    trainer.run(after_epoch=lambda now: weights.append(copy.deepcopy(now.model.state_dict())))
    accuracies = [row["meta_accuracy"] for row in trainer.history.rows[1:]]
    best = accuracies.index(max(accuracies))
    assert trainer.selected_iteration == trainer.history.rows[best + 1]["iteration"]
    assert trainer.best == accuracies[best]
    assert all(torch.equal(value, weights[best][name]) for name, value in trainer.selected.items())


def test_selected_weights_are_a_copy_that_further_steps_do_not_move() -> None:
    trainer = fresh("cross_entropy")
    trainer.run()
    assert trainer.selected_iteration < trainer.iteration
    assert any(
        not torch.equal(value, trainer.selected[name]) for name, value in trainer.model.state_dict().items()
    )


def test_each_step_has_the_learning_rate_of_its_iteration_and_the_history_the_last_one() -> None:
    trainer = fresh("cross_entropy")
    seen: list[float] = []
    backward = trainer.method.backward

    def watched(model, batch: Batch, meta: Batch | None, info: StepInfo) -> dict[str, Tensor]:
        assert all(value.grad is None for value in model.parameters())
        seen.append(float(info.learning_rate))
        return backward(model, batch, meta, info)

    trainer.method.backward = watched
    trainer.run()
    rising = [0.1, 0.12, 0.14, 0.16, 0.18]
    assert seen == pytest.approx(rising + [0.2] * 3 + [0.02] * 2 + [0.002] * 4, rel=1e-12)
    assert [row["lr"] for row in trainer.history.rows[1:]] == [seen[i] for i in (2, 5, 8, 11, 13)]


def diverging(term: str, at: int) -> Trainer:
    trainer = fresh("difficulty_net")
    backward = trainer.method.backward

    def broken(*arguments: Any) -> dict[str, Tensor]:
        scalars = backward(*arguments)
        return {**scalars, term: torch.tensor(math.nan)} if trainer.iteration == at else scalars

    trainer.method.backward = broken  # type: ignore[method-assign]
    return trainer


@pytest.mark.parametrize("term", ["train_loss", "meta_loss", "driver_loss", "grad_norm_meta"])
def test_a_term_that_is_not_finite_stops_the_training_and_is_named_with_its_iteration(term: str) -> None:
    trainer = diverging(term, at=4)
    with pytest.raises(DivergedError) as caught:
        trainer.run()
    message = str(caught.value)
    assert f"{term} nan" in message
    assert "by iteration 6" in message  # the end of that epoch
    assert "\n" not in message
    assert message.count("nan") == 1
    assert len(trainer.history.rows) == 2


def test_an_absurd_learning_rate_is_reported_as_divergence() -> None:
    trainer = fresh("cross_entropy")
    trainer.optimiser.weight_decay = 1e20
    with pytest.raises(DivergedError, match=r"not finite by iteration 3 .* train_loss"):
        trainer.run()


def test_weights_that_the_very_last_step_spoils_are_noticed() -> None:
    trainer = fresh("cross_entropy")
    step = trainer.optimiser.step

    def spoiled(rate: float) -> None:
        step(rate)
        if trainer.iteration == ITERATIONS - 1:
            for value in trainer.model.parameters():
                value.data.fill_(math.nan)

    trainer.optimiser.step = spoiled  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"by iteration 14 .* logit"):
        trainer.run()


def test_a_careful_training_names_the_first_bad_iteration() -> None:
    trainer = diverging("meta_loss", at=4)
    trainer.careful = True
    with pytest.raises(DivergedError, match=r"^not finite at iteration 5 at .*: meta_loss nan$") as caught:
        trainer.run()
    assert caught.value.iteration == 5


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("at", [4, ITERATIONS - 1])
def test_a_gradient_that_is_not_finite_is_noticed_though_all_losses_are(careful: bool, at: int) -> None:
    trainer = fresh("cross_entropy")
    trainer.careful = careful
    name, spoiled = list(trainer.model.named_parameters())[-1]
    backward = trainer.method.backward

    def broken(*arguments: Any) -> dict[str, Tensor]:
        scalars = backward(*arguments)
        if trainer.iteration == at:
            assert spoiled.grad is not None
            spoiled.grad.view(-1)[0] = math.inf
        return {name: value.nan_to_num() for name, value in scalars.items()}

    trainer.method.backward = broken  # type: ignore[method-assign]
    with pytest.raises(DivergedError) as caught:
        trainer.run()
    if careful:
        assert f"at iteration {at + 1} " in str(caught.value)
        assert f"gradient of {name} inf" in str(caught.value)
    else:
        assert caught.value.iteration == min(6 if at == 4 else ITERATIONS, ITERATIONS)


def test_a_momentum_that_is_not_finite_is_noticed_before_it_shows() -> None:
    trainer = fresh("cross_entropy")
    pauses = trainer.iterations()
    next(pauses)
    trainer.check_finite()
    buffer = trainer.optimiser.buffers[0]
    assert buffer is not None
    buffer.view(-1)[0] = math.nan
    with pytest.raises(DivergedError, match=r"optimiser\.buffers\.0 nan"):
        trainer.check_finite()


def test_careful_or_not_the_results_are_the_same_bytes() -> None:
    trainer = fresh("difficulty_net")
    trainer.careful = True
    trainer.run()
    assert result(trainer) == whole("difficulty_net")[0]


def test_accuracy_is_that_of_each_class_and_zero_for_a_class_without_images() -> None:
    logits = torch.eye(4)[torch.tensor([0, 0, 1, 2, 2])]
    assert class_accuracy(logits, torch.tensor([0, 1, 1, 2, 2])).tolist() == [1.0, 0.5, 1.0, 0.0]


def test_prediction_keeps_the_mode_and_does_not_depend_on_the_company() -> None:
    trainer = fresh("cross_entropy")
    trainer.run()
    for mode in (True, False):
        trainer.model.train(mode)
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        pixels = trainer.data.train.pixels
        together = predict(trainer.model, pixels)
        alone = torch.cat([predict(trainer.model, image[None]) for image in pixels])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        assert trainer.model.training is mode
        assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert len(pixels) == sum(COUNTS)


@pytest.mark.parametrize("method", presets.METHODS)
def test_a_last_batch_of_one_image_leaves_all_numbers_finite(method: str) -> None:
    batch_size = 8
    assert sum(COUNTS) % batch_size == 1
    trainer = make_trainer(method, sampler="shuffled", batch_size=batch_size, iterations=7)
    trainer.run()
    trainer.check_finite()
