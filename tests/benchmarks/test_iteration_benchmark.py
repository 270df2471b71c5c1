"""The benchmark of a training's iteration runs, plain and replayed."""

import torch

from benchmarks.iteration import milliseconds, report, trainer
from tests.support.tape import tape_recorder


def test_a_plain_and_a_replayed_training_are_measured_in_turns() -> None:
    cpu = torch.device("cpu")
    trainers = {
        "cross_entropy, plain": trainer("cross_entropy", cpu, 4, "float32", None),
        "cross_entropy, replayed": trainer("cross_entropy", cpu, 4, "float32", tape_recorder),
    }
    taken = milliseconds(trainers, iterations=1, rounds=1)
    assert all(own.iteration == 3 for own in trainers.values())
    table = report(taken, trainers, 128, "told")
    assert "| cross_entropy, plain | " in table
    assert "| 1.2 | " in table
    assert "| iterations of 1 shapes, equal to plain ones |" in table
