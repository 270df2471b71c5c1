"""Choices from a grid: their order, their ties, and what a resumed training knows of them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtail.config.presets import METHODS
from longtail.methods import find_method
from longtail.running.checkpoints import Checkpoints
from longtail.training.choices import STEPS, best_of, combinations
from longtail.training.post_hoc import PostHocHead, choose
from tests.support.heads import make_head_trainer

POST_HOC = [name for name in METHODS if issubclass(find_method(name), PostHocHead)]
GRID = {"a": (0.0, 1.0), "b": (0.0, 0.5, 2.0)}


def test_the_last_number_varies_fastest() -> None:
    found = [(own["a"], own["b"]) for own in combinations(GRID)]
    assert found == [(0, 0), (0, 0.5), (0, 2), (1, 0), (1, 0.5), (1, 2)]


def test_steps_are_exact_tenths() -> None:
    assert tuple(float(f"{k / 10:.1f}") for k in range(21)) == STEPS


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_the_best_is_chosen_and_the_first_of_equally_good_ones(right: list[int]) -> None:
    found = best_of(GRID, right, 9)
    place = combinations(GRID).index(found.chosen)
    assert right[place] == max(right)
    assert max(right[:place], default=-1) < right[place]
    assert found.meta_accuracy == [count / 9 for count in right]


def test_accuracy_counts_images_whose_largest_logit_is_their_label() -> None:
    labels = torch.tensor([0, 1, 2, 2])
    guesses = ([0, 0, 0, 0], [0, 1, 2, 2], [2, 1, 2, 2])
    logits = (torch.nn.functional.one_hot(torch.tensor(own), 3).float() for own in guesses)
    found = choose({"tau": (0.0, 0.1, 0.2)}, logits, labels)
    assert found.meta_accuracy == [0.25, 1.0, 0.75]
    assert found.chosen == {"tau": 0.1}


@pytest.mark.parametrize("method", POST_HOC)
def test_a_training_that_is_over_still_knows_its_choice_when_it_is_resumed(
    method: str, tmp_path: Path
) -> None:
    trainer = make_head_trainer(method)
    assert trainer.method.choice() is None
    trainer.run()
    kept = Checkpoints(tmp_path / "checkpoint.pt", method)
    kept.save(trainer.state())
    state = kept.load(torch.device("cpu"))
    assert state is not None
    other = make_head_trainer(method)
    other.load_state(state)
    other.run()
    assert other.method.choice() == trainer.method.choice() is not None
