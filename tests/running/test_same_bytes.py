"""Same seed, same bytes: also with two threads, which give other bytes than one does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import kills
from longtail.running.cells import train_cell


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", ["cross_entropy", "difficulty_net"])
def test_two_runs_with_the_same_number_of_threads_are_the_same_bytes(kind: str, tmp_path: Path) -> None:
    inputs, found = kills.digits(), []
    for run, number in enumerate((1, 2, 2, 1)):
        torch.set_num_threads(number)
        job, _ = kills.job_of(kind, inputs, 0.03, tmp_path)
        train_cell(replace(job, checkpoint=None), inputs, tmp_path / f"{run}")
        found.append(kills.contents(tmp_path / f"{run}"))
    assert found[0] == found[3]
    assert found[1] == found[2]
