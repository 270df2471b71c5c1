"""Draws come from (seed, stream, step), and leave the global state alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtail.randomness import derived_seed, generator, global_draws

keys = st.tuples(st.integers(0, 2**63), st.sampled_from(["order", "augment", "head"]), st.integers(0, 10**7))


@given(keys, keys)
def test_seeds_are_equal_only_for_equal_seed_stream_and_step(one, other) -> None:
    assert (derived_seed(*one) == derived_seed(*other)) == (one == other)
    assert 0 <= derived_seed(*one) < 2**63


def test_seed_stream_and_step_each_give_other_draws() -> None:
    draws = [
        tuple(torch.rand(4, generator=generator(seed, stream, step)).tolist())
        for seed in (1, 2, 12)
        for stream in ("a", "b")
        for step in (0, 1, 2)
    ]
    assert len(set(draws)) == 18


def test_these_seeds_never_change() -> None:
    # every published cell hangs on them
    assert derived_seed(1, "initialisation") == 4468653932358678002
    assert derived_seed(3, "augment", 199) == 4207011408030781466


@pytest.mark.parametrize("state", [0, 1])
def test_global_state_does_not_matter_and_stays_what_it_was(state: int) -> None:
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002
    torch.manual_seed(state)
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    drawn = torch.rand(3, generator=generator(1, "order", 2))
    with global_draws(1, "order", 2):
        inside = torch.rand(3)
    assert torch.equal(drawn, inside)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert repr(np.random.get_state()) == before[2]  # noqa: NPY002


def test_global_state_comes_back_after_an_error_too() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), global_draws(1, "order"):
        torch.rand(3).view(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_global_draws_seed_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    torch.manual_seed(0)
    assert seeded == [0]  # what it is guarded against
    with global_draws(1, "order"):
        pass
    assert seeded == [0]
