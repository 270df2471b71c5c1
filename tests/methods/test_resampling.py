"""Resampling: class frequencies of Eq. 1, uniform images within a class, batches from (seed, iteration)."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.config.training import Steps
from longtail.methods.resampling import PowerSampler, Resampling
from longtail.training.method import Task
from tests.support.losses import CASES, COUNTS, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer

SAMPLINGS = ("class_balanced", "square_root")


def labels_of(counts: list[int]) -> Tensor:
    """Labels in no particular order."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]


def build(sampling: str, labels: Tensor, batch_size: int, seed: int = 1) -> PowerSampler:
    """What the method gives the training loop, whatever the schedule names."""
    task = Task(counts=torch.bincount(labels), seed=seed, imbalance=10)
    sampler = Resampling({"sampling": sampling}, task).sampler("shuffled", labels, batch_size)
    assert isinstance(sampler, PowerSampler)
    return sampler


def drawn(sampler: PowerSampler, batches: int) -> NDArray[np.int64]:
    return torch.cat([sampler.batch(iteration) for iteration in range(batches)]).numpy()


def chi_square(found: NDArray[np.int64], share: NDArray[np.float64]) -> float:
    """Pearson's statistic of counts against expected shares, over its degrees of freedom."""
    expected = found.sum() * share
    return float(((found - expected) ** 2 / expected).sum() / (len(share) - 1))


COUNT_LIST = [500, 120, 60, 20, 7, 1]
SHARES = {
    "class_balanced": np.full(6, 1 / 6),
    "square_root": np.sqrt(COUNT_LIST) / np.sqrt(COUNT_LIST).sum(),
    "as in the data": np.array(COUNT_LIST) / sum(COUNT_LIST),
}


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_classes_come_as_often_as_published(sampling: str) -> None:
    labels = labels_of(COUNT_LIST)
    chosen = drawn(build(sampling, labels, 128), 300)
    found = np.bincount(labels.numpy()[chosen], minlength=6)
    assert found.sum() == 300 * 128
    assert chi_square(found, SHARES[sampling]) < 3  # 1 expected; 99.5 % lie below 3.4
    for name, share in SHARES.items():
        assert name == sampling or chi_square(found, share) > 100


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_images_of_a_class_come_equally_often(sampling: str) -> None:
    labels = labels_of([40, 12, 3, 1])
    chosen = drawn(build(sampling, labels, 128), 300)
    for c, count in enumerate([40, 12, 3, 1]):
        own = chosen[labels.numpy()[chosen] == c]
        found = np.bincount(own, minlength=len(labels))[labels.numpy() == c]
        assert found.sum() == len(own)
        assert found.min() > 0
        assert count == 1 or chi_square(found, np.full(count, 1 / count)) < 3


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_equal_counts_give_every_image_the_same_chance(sampling: str) -> None:
    labels = labels_of([10] * 5)
    found = np.bincount(drawn(build(sampling, labels, 64), 300), minlength=50)
    assert chi_square(found, np.full(50, 1 / 50)) < 1.6


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_draws_are_with_replacement_and_batches_full(sampling: str) -> None:
    labels = labels_of([30, 11])
    sampler = build(sampling, labels, 16)
    assert sampler.batches_per_epoch == 3
    assert build(sampling, labels, 41).batches_per_epoch == 1
    batches = [sampler.batch(iteration) for iteration in range(30)]
    assert all(batch.shape == (16,) and batch.dtype == torch.int64 for batch in batches)
    assert any(len(batch.unique()) < 16 for batch in batches)
    assert all(int(batch.min()) >= 0 and int(batch.max()) < 41 for batch in batches)


def test_a_class_without_images_is_never_drawn_and_the_others_share_its_chance() -> None:
    labels = labels_of([20, 0, 5])
    chosen = labels.numpy()[drawn(build("class_balanced", labels, 128), 100)]
    found = np.bincount(chosen, minlength=3)
    assert found[1] == 0
    assert chi_square(found[[0, 2]], np.full(2, 0.5)) < 6


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_batch_depends_on_seed_and_iteration_alone(sampling: str) -> None:
    labels = labels_of([30, 11, 4])
    walked = build(sampling, labels, 16)
    in_order = [walked.batch(iteration) for iteration in range(8)]
    torch.rand(3)  # the global state must not matter
    for iteration in (5, 0, 7, 5):  # in any order, on another object
        assert torch.equal(build(sampling, labels, 16).batch(iteration), in_order[iteration])
    assert len({tuple(batch.tolist()) for batch in in_order}) == 8
    assert not torch.equal(build(sampling, labels, 16, seed=2).batch(0), in_order[0])


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(Resampling({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_its_values() -> None:
    check_gradient(Resampling({}, COUNTS))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_it_learns_few_shot_classes_too(sampling: str) -> None:
    schedule = Steps(start=0.05, peak=0.1, warmup=5, milestones=(48,))
    trainer = make_trainer("resampling", {"sampling": sampling}, iterations=60, schedule=schedule)
    assert isinstance(trainer.data.sampler, PowerSampler)
    trainer.run()
    rows = trainer.history.rows
    assert [row["iteration"] for row in rows[:3]] == [0, 3, 6]
    assert rows[-1]["train_loss"] < rows[1]["train_loss"] / 4
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / 4
