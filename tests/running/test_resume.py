"""Exact resume: every method and head, also in mid-epoch, through a real file, to the same bytes."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from longtail.config.presets import METHODS
from longtail.running.checkpoints import Checkpoints
from longtail.training.trainer import Trainer, predict
from tests.support.small_training import make_trainer

ITERATIONS = 12
STOPS = (9, 10)
"""At the end of the third epoch and within the fourth, where an epoch has 3 iterations, as most have."""
SETTINGS: dict[str, dict[str, Any]] = {
    "difficulty_net": {"hidden": 8, "learning_rate": 3e-2},
    "sample_difficulty_net": {"hidden": 8},
    "meta_weight_net": {"learning_rate": 0.1},
    "cb_da": {"start": 0.5},
    "paco": {"queue": 48, "dim": 8},
    "balms": {"learning_rate": 0.5},
}
"""Such that each part of a state shows in the result within these few iterations."""


def fresh(method: str) -> Trainer:
    return make_trainer(method, SETTINGS.get(method), noise=0.5, iterations=ITERATIONS)


def result(trainer: Trainer) -> dict[str, Any]:
    """What a cell is made of, comparable bit by bit."""
    weights = {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}
    logits = predict(trainer.model, trainer.data.train.pixels).numpy().tobytes()
    return {
        "weights": weights,
        "selected": {name: value.numpy().tobytes() for name, value in trainer.selected.items()},
        "selected_iteration": trainer.selected_iteration,
        "iteration": trainer.iteration,
        "history": [repr(sorted(row.items())) for row in trainer.history.rows],
        "predictions": logits,
        "choice": trainer.method.choice(),
    }


@cache
def whole(method: str) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The result of an uninterrupted training, and copies of its state at `STOPS`."""
    trainer, states = fresh(method), {}
    for _ in trainer.iterations():
        if trainer.iteration in STOPS:
            states[trainer.iteration] = copy.deepcopy(trainer.state())
    return result(trainer), states


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("method", METHODS)
def test_a_training_that_stops_and_goes_on_ends_in_the_same_bytes(
    method: str, stop: int, tmp_path: Path
) -> None:
    expected, states = whole(method)
    kept = Checkpoints(tmp_path / "checkpoint.pt", method)
    kept.save(states[stop])
    state = kept.load(torch.device("cpu"))
    assert state is not None
    trainer = fresh(method)
    assert (state["sums"] == {}) is (stop % trainer.data.batches_per_epoch == 0)
    trainer.load_state(state)
    trainer.run()
    assert result(trainer) == expected


Place = tuple[Any, ...]


def leaves(state: Any, path: Place = ()) -> list[Place]:
    """The paths of all single values and tensors in a state."""
    if isinstance(state, dict):
        return [leaf for key, value in state.items() for leaf in leaves(value, (*path, key))]
    if isinstance(state, list) and path[:1] != ("history",):
        return [leaf for key, value in enumerate(state) for leaf in leaves(value, (*path, key))]
    return [path]


def lost(value: Any) -> Any:
    """Another value in its place: what there would be had it not been saved, or something else."""
    if isinstance(value, torch.Tensor):
        other = torch.zeros_like(value)
        return other if not torch.equal(other, value) else other + 1
    if isinstance(value, list):
        return value[:-1]
    if isinstance(value, bool):
        return not value
    return None if value is None else type(value)(0 if value else 1)


def changed(state: dict[str, Any], path: Place) -> dict[str, Any]:
    """A copy of `state` in which the leaf at `path` is lost."""
    state = copy.deepcopy(state)
    inner: Any = state
    for key in path[:-1]:
        inner = inner[key]
    last = path[len(path) - 1]
    inner[last] = lost(inner[last])
    return state


IDLE = {"seconds": "how long it took: in timing.json alone, and never the same"}
"""What changes no result, and why it is saved."""

KINDS = ("cross_entropy", "difficulty_net", "paco", "balms", "las")
"""Plain, class-level meta, momentum and queue, frozen features with a meta sampler, and without."""


@cache
def late(method: str) -> dict[str, Any]:
    """A state in the middle of the last epoch, whose best weights lie behind it, so that they matter."""
    state = whole(method)[1][STOPS[-1]]
    assert state["sums"]
    assert state["selected"]
    return {**state, "best": 1.0}


@pytest.mark.parametrize("method", KINDS)
def test_every_single_value_of_a_state_is_needed(method: str) -> None:
    trainer = fresh(method)  # one for all: what `load_state` forgot to put back would show as well

    def from_state(state: dict[str, Any]) -> dict[str, Any] | str:
        try:
            trainer.load_state(state)
        except (KeyError, ValueError, RuntimeError) as error:
            return f"refused: {error}"
        trainer.run()
        return result(trainer)

    expected = from_state(copy.deepcopy(late(method)))
    paths = leaves(late(method))
    assert len(paths) > 40
    idle = [path for path in paths if from_state(changed(late(method), path)) == expected]
    assert [".".join(map(str, path)) for path in idle] == list(IDLE)
    assert from_state(copy.deepcopy(late(method))) == expected


def dicts(state: Any, path: Place = ()) -> list[Place]:
    """The paths of everything that stands under a name."""
    if not isinstance(state, dict):
        return []
    return [found for key, value in state.items() for found in ((*path, key), *dicts(value, (*path, key)))]


@pytest.mark.parametrize("method", KINDS)
def test_a_state_that_lacks_a_field_is_refused(method: str) -> None:
    trainer = fresh(method)
    filled = ("sums", "selected")  # where a name is missing, nothing is: these are as full as they are
    for path in dicts(late(method)):
        if len(path) > 1 and path[0] in filled:
            continue
        state = copy.deepcopy(late(method))
        inner: Any = state
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[len(path) - 1]]
        with pytest.raises((KeyError, RuntimeError)):
            trainer.load_state(state)
