"""Trainings that are really killed, at points drawn from a seed, end in the bytes of undisturbed ones."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks import kills
from longtail.meta.tangents import load_forward_mode
from longtail.running.jobs import CellInputs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks with torch")


@cache
def inputs() -> CellInputs:
    torch.set_num_threads(1)
    load_forward_mode()
    return kills.digits()


@pytest.mark.parametrize("kind", [kind for kind in kills.KINDS if "balms" not in kind])
def test_a_training_killed_again_and_again_ends_in_the_same_bytes(kind: str, tmp_path: Path) -> None:
    tally = kills.harass(kind, inputs(), tmp_path, fraction=0.06, kills=6, seed=3)
    assert tally.kills.total() == 6
    assert len(tally.kills) >= 3, "of different kinds"
    assert tally.equal == tally.begun >= 1


def test_a_resume_that_loses_something_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with the momentum dropped from each state, the same kills end in other bytes."""
    from longtail.training.optimisers import SGD

    monkeypatch.setattr(SGD, "load_state", lambda self, state: None)
    monkeypatch.setattr(kills, "POINTS", {"step": "", "measure": ""})
    tally = kills.harass("cross_entropy", inputs(), tmp_path, fraction=0.06, kills=3, seed=3)
    assert tally.equal < tally.begun
