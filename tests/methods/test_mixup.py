"""Mixup: the published loss on blended images, Beta(alpha, alpha), cross-entropy for alpha = 0."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longtail.config.training import Steps
from longtail.methods.mixup import Mixup, draw_share
from longtail.training.method import Batch, StepInfo
from tests.support.losses import CASES, CLASSES, COUNTS, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer


def draws(iteration: int, alpha: float = 1.0) -> tuple[float, NDArray[np.int64]]:
    share, partners = Mixup({"alpha": alpha}, COUNTS).draw(32, iteration)
    return share, partners.numpy()


def step(model: nn.Module, images: Tensor, labels: Tensor, iteration: int, **settings: Any) -> float:
    """The loss of one step; its gradient is left in the model."""
    batch = Batch(images, labels)
    scalars = Mixup(settings, COUNTS).backward(model, batch, None, StepInfo(iteration, 100, 0.1))
    assert not scalars["train_loss"].requires_grad
    return float(scalars["train_loss"])


def formula(
    images: NDArray[np.float64], labels: NDArray[np.int64], share: float, partners: NDArray[np.int64]
) -> float:
    """The mean over the batch, one image after the other; the network is the identity."""
    losses = []
    for i, j in enumerate(partners):
        blended = share * images[i] + (1 - share) * images[j]
        log_p = log_softmax(blended[None])[0]
        losses.append(-share * log_p[labels[i]] - (1 - share) * log_p[labels[j]])
    return float(np.mean(losses))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_loss_is_that_of_the_paper(name: str, alpha: float) -> None:
    logits, labels = CASES[name]
    model = nn.Linear(CLASSES, CLASSES, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.eye(CLASSES))
    for iteration in range(5):
        share, partners = Mixup({"alpha": alpha}, COUNTS).draw(len(labels), iteration)
        expected = formula(logits, labels, share, partners.numpy())
        found = step(model, torch.from_numpy(logits), torch.from_numpy(labels), iteration, alpha=alpha)
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_losses_of_single_images_are_cross_entropy(name: str) -> None:
    logits, labels = CASES[name]
    expected = -log_softmax(logits)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found_losses(Mixup({}, COUNTS), name), expected, rtol=1e-10, atol=1e-10)
    if name == "random logits":
        check_gradient(Mixup({}, COUNTS))


def test_the_gradient_of_a_step_is_that_of_its_loss_by_finite_differences() -> None:
    logits, labels = CASES["random logits"]
    images, chosen = torch.from_numpy(logits[:9]), torch.from_numpy(labels[:9])
    torch.manual_seed(0)
    model = nn.Linear(CLASSES, CLASSES, bias=False, dtype=torch.float64)
    step(model, images, chosen, 3)
    assert model.weight.grad is not None
    slopes, weight = model.weight.grad.flatten().tolist(), model.weight.detach().view(-1)
    assert min(abs(slope) for slope in slopes) > 1e-4
    for place, slope in enumerate(slopes):
        weight[place] += 1e-5
        above = step(model, images, chosen, 3)
        weight[place] -= 2e-5
        below = step(model, images, chosen, 3)
        weight[place] += 1e-5
        assert (above - below) / 2e-5 == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_alpha_zero_trains_as_cross_entropy_to_the_same_bits() -> None:
    mixed, plain = make_trainer("mixup", {"alpha": 0.0}), make_trainer("cross_entropy")
    mixed.run()
    plain.run()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(mixed.model.state_dict()[name], value), name
    assert mixed.history.rows[-1]["train_loss"] == plain.history.rows[-1]["train_loss"]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_draws_of_beta(alpha: float) -> None:
    generator = torch.Generator().manual_seed(5)
    shares = np.sort([draw_share(alpha, generator) for _ in range(4000)])
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
    fourth = ((shares - 0.5) ** 4).mean()
    expected = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))
    assert fourth == pytest.approx(expected, rel=0.1)


def test_a_share_and_a_permutation_are_drawn_for_each_seed_and_iteration() -> None:
    share, partners = draws(3)
    assert sorted(partners.tolist()) == list(range(32))
    torch.rand(3)  # the global state must not matter
    again, same = draws(3)
    assert share == again
    assert (partners == same).all()
    assert len({draws(iteration)[0] for iteration in range(20)}) == 20
    assert len({tuple(draws(iteration)[1]) for iteration in range(20)}) == 20


def test_the_network_sees_one_blended_batch_and_the_batch_stays_what_it_was() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return self.scale * images.flatten(1)[:, :CLASSES]

    images = torch.randn(32, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    before = images.clone()
    step(Spy(), images, torch.arange(32) % CLASSES, 4)
    share, partners = draws(4)
    assert 0.01 < share < 0.99
    torch.testing.assert_close(seen, [share * images + (1 - share) * images[partners]])
    assert torch.equal(images, before)


def test_it_learns_few_shot_classes_too() -> None:
    schedule = Steps(start=0.05, peak=0.1, warmup=5, milestones=(48,))
    trainer = make_trainer("mixup", {"alpha": 0.2}, noise=0.5, iterations=90, schedule=schedule)
    trainer.run()
    rows = trainer.history.rows
    late = [row["train_loss"] for row in rows[-10:]]
    assert sum(late) / 10 < rows[1]["train_loss"] / 2
    assert sum(rows[-1]["accuracy"][2:]) / 2 > 1.5 / 4
