"""Learning rates: the paper's numbers, the cosine's values."""

import math

import pytest

from longtail.config.training import Cosine, Steps, Training
from longtail.training.schedules import learning_rate


def training(schedule: Steps | Cosine, iterations: int) -> Training:
    return Training(
        iterations=iterations,
        batch_size=128,
        meta_batch_size=100,
        sampler="shuffled",
        augment="none",
        second_augment="none",
        momentum=0.9,
        weight_decay=1e-4,
        nesterov=False,
        schedule=schedule,
    )


PAPER = training(Steps(start=0.1, peak=0.2, warmup=400, milestones=(6400, 9600)), 12_800)


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (0, 0.1),
        (1, 0.10025),
        (100, 0.125),
        (200, 0.15),
        (399, 0.19975),
        (400, 0.2),
        (401, 0.2),
        (6399, 0.2),
        (6400, 0.02),
        (9599, 0.02),
        (9600, 0.002),
        (12_799, 0.002),
    ],
)
def test_the_papers_schedule_counts_iterations(iteration: int, rate: float) -> None:
    for batches_per_epoch in (1, 81, 10_000):
        assert learning_rate(PAPER, iteration, batches_per_epoch) == pytest.approx(rate, rel=1e-12)


def test_without_warm_up_it_starts_at_the_peak() -> None:
    flat = training(Steps(start=0.1, peak=0.2, warmup=0, milestones=()), 10)
    assert [learning_rate(flat, i, 1) for i in range(10)] == [0.2] * 10


@pytest.mark.parametrize(("iterations", "epochs"), [(50, 10), (48, 10), (46, 10), (5, 1), (1, 1)])
def test_cosine_has_one_value_an_epoch_and_counts_a_broken_last_epoch(iterations: int, epochs: int) -> None:
    half = training(Cosine(peak=0.05), iterations)
    for iteration in range(iterations):
        expected = 0.5 * 0.05 * (1 + math.cos(math.pi * (iteration // 5) / epochs))
        assert learning_rate(half, iteration, 5) == pytest.approx(expected, rel=1e-12)
    assert learning_rate(half, 0, 5) == 0.05
    assert learning_rate(half, iterations - 1, 5) > 0
