"""Several ranks against one process, in float64 over gloo: the same training, for every method."""

import copy
from functools import cache
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.config.presets import METHODS
from longtail.config.training import Steps
from longtail.errors import InputError, MachineError
from longtail.training.finite import tensors_of
from longtail.training.ranks import ALONE, Ranks
from longtail.training.trainer import Trainer, moving_statistics
from tests.methods.test_difficulty_net import Reference
from tests.support.naive_loop import NaiveLoop
from tests.support.rank_processes import in_ranks
from tests.support.small_training import default_dtype, make_trainer

STEPS, FEW = 20, 7
PROVED = ("cross_entropy", "difficulty_net", "meta_weight_net", "crt", "balms")
"""Trained for `STEPS`, the others for `FEW`, which end within the third epoch."""
SETTINGS: dict[str, dict[str, Any]] = {
    "difficulty_net": {"hidden": 8, "learning_rate": 3e-2},
    "sample_difficulty_net": {"hidden": 8, "learning_rate": 3e-2},
    "meta_weight_net": {"learning_rate": 0.1},
    "cb_da": {"start": 0.0},
    "paco": {"queue": 24, "dim": 8},
    "balms": {"learning_rate": 0.5},
}
TOLERANCE = 1e-10


SLOW = Steps(start=0.02, peak=0.04, warmup=5, milestones=(8, 10))
"""A network without batch statistics would diverge at the usual rate."""


def trainer_of(method: str, ranks: Ranks = ALONE, iterations: int = STEPS, **changes: Any) -> Trainer:
    """Batches of 16, 16 and 9 images and meta batches of 10, which four ranks cannot share equally."""
    with default_dtype(torch.float64):
        return make_trainer(
            method,
            SETTINGS.get(method),
            dtype=torch.float64,
            ranks=ranks,
            iterations=iterations,
            meta_batch_size=10,
            **changes,
        )


def fix_statistics(module: nn.Module) -> None:
    """Keep BatchNorm in evaluation mode, so that an output does not depend on the other images."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
            layer.train = lambda mode=True, layer=layer: layer


def evaluating(method: str, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """The outcome of a training of `method` with BatchNorm in evaluation mode."""
    trainer = trainer_of(method, ranks, STEPS if method in PROVED else FEW, schedule=SLOW)
    for module in (trainer.model, *vars(trainer.method).values()):
        if isinstance(module, nn.Module):  # PaCo has networks of its own
            fix_statistics(module)
    trainer.run()
    return outcome(trainer)


def outcome(trainer: Trainer) -> dict[str, Tensor]:
    """The whole state, and the numbers of the history."""
    names = ("train_loss", "meta_loss", "driver_loss", "meta_accuracy")
    rows = [[row[name] for name in names] for row in trainer.history.rows]
    history = torch.tensor(rows, dtype=torch.float64).nan_to_num(nan=-1.0)
    return copy.deepcopy({**tensors_of(trainer.state()), "rows": history})


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of any number."""
    assert found.keys() == expected.keys()
    pairs = [(found[name].double(), value.double()) for name, value in expected.items()]
    return max(float((one - other).abs().max()) for one, other in pairs if other.numel())


class Without(Ranks):
    """Ranks that leave out one of the sums of each iteration."""

    def __init__(self, ranks: Ranks, left_out: int, sums: int) -> None:
        super().__init__(ranks.rank, ranks.size)
        vars(self).update(left_out=left_out, sums=sums, done=-1)

    def summed(self, tensors: Any) -> Any:
        vars(self)["done"] += 1
        own = vars(self)
        return [*tensors] if own["done"] % own["sums"] == own["left_out"] else super().summed(tensors)


SUMS = ("look ahead", "meta gradient", "products", "theta", "final gradient")
"""In each iteration of Difficulty-Net, in this order."""


def without(ranks: Ranks, left_out: int) -> dict[str, Tensor] | str:
    """Difficulty-Net without one of `SUMS`; the error's message if the ranks notice themselves."""
    try:
        return evaluating("difficulty_net", Without(ranks, left_out, len(SUMS)))
    except MachineError as error:
        return str(error)


def all_of(ranks: Ranks, methods: tuple[str, ...]) -> dict[str, Any]:
    """Everything that is compared, in one start of the processes."""
    found: dict[str, Any] = {method: evaluating(method, ranks) for method in methods}
    if ranks.size == 2:
        found |= {f"without {name}": without(ranks, place) for place, name in enumerate(SUMS)}
        for method in ("cross_entropy", "difficulty_net"):
            trainer = trainer_of(method, ranks)
            trainer.run()
            found[f"training {method}"] = outcome(trainer)
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_ranks(2, all_of, tmp_path_factory.mktemp("two"), tuple(METHODS))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_ranks(4, all_of, tmp_path_factory.mktemp("four"), PROVED)


alone = cache(evaluating)


@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_equal_one(method: str, two: list[dict[str, Any]]) -> None:
    for found in two:
        assert distance(found[method], alone(method)) < TOLERANCE


@pytest.mark.parametrize("method", PROVED)
def test_four_ranks_equal_one(method: str, four: list[dict[str, Any]]) -> None:
    for found in four:
        assert distance(found[method], alone(method)) < TOLERANCE


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_left_out_is_noticed(name: str, two: list[dict[str, Any]]) -> None:
    for found in (ranks[f"without {name}"] for ranks in two):
        if name in ("theta", "final gradient"):  # the ranks come apart, and see it themselves
            assert str(found).startswith("the ranks do not have the same weights at iteration ")
        else:
            assert distance(found, alone("difficulty_net")) > 1e4 * TOLERANCE


class Replicas(nn.Module):
    """Networks of the same parameters, each with a part of the batch and BatchNorm statistics of its own."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        shared = {id(own): own for own in network.parameters()}
        self.networks = nn.ModuleList([copy.deepcopy(network, dict(shared)) for _ in range(count)])

    def mean(self) -> nn.Module:
        """One network, with the mean of the statistics."""
        found = copy.deepcopy(self.networks[0])
        for name, own in found.named_buffers():
            if own.is_floating_point():
                own.copy_(torch.stack([network.get_buffer(name) for network in self.networks]).mean(0))
        return found

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return self.mean().eval()(images)
        count = len(self.networks)
        ends = [len(images) * number // count for number in range(count + 1)]
        parts = [images[start:end] for start, end in pairwise(ends)]
        return torch.cat([network(part) for network, part in zip(self.networks, parts, strict=True)])


class PlainLoop(NaiveLoop):
    """Cross-entropy."""

    def iterate(self, rate: float) -> None:
        losses, _ = self.losses()
        self.descend(losses.mean(), rate)


@pytest.mark.parametrize(
    ("method", "reference"), [("cross_entropy", PlainLoop), ("difficulty_net", Reference)]
)
def test_two_ranks_equal_a_loop_over_two_replicas_with_statistics_of_their_own(
    method: str, reference: type[NaiveLoop], two: list[dict[str, Any]]
) -> None:
    trainer = trainer_of(method)
    loop = reference(trainer)
    replicas = loop.model = Replicas(loop.model, 2).train()
    loop.run()
    expected = {f"model.{name}": value for name, value in replicas.mean().state_dict().items()}
    assert any("running_var" in name for name in expected)
    trainer.run()  # in one process, where the statistics are those of the whole batch
    for ranks in two:
        found = {name: ranks[f"training {method}"][name] for name in expected}
        assert distance(found, expected) < 1e-8
        assert distance(found, {name: outcome(trainer)[name] for name in expected}) > 1e-3


@pytest.mark.parametrize("images", [4, 5, 7, 8, 1000])
def test_the_parts_of_the_ranks_make_up_the_whole(images: int) -> None:
    rows = list(range(images))
    parts = [rows[Ranks(rank, 4).part(images)] for rank in range(4)]
    assert list(chain(*parts)) == rows
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_smaller_than_the_ranks_is_refused_before_the_start() -> None:
    trainer_of("cross_entropy", Ranks(0, 9))
    with pytest.raises(InputError, match="10 ranks: a batch or set of 9 images; start fewer ranks"):
        trainer_of("cross_entropy", Ranks(0, 10))


def test_a_rank_augments_its_images_as_one_process_does() -> None:
    whole = trainer_of("paco", augment="crop_flip").data.train_batch(1)
    parts = [trainer_of("paco", Ranks(rank, 3), augment="crop_flip").data.train_batch(1) for rank in range(3)]
    for name in ("images", "second_view"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert all(torch.equal(part.labels, whole.labels) for part in parts)


def test_statistics_that_do_not_move_are_not_averaged() -> None:
    model = trainer_of("cross_entropy").model
    moving = len(moving_statistics(model.train()))
    assert moving == sum("running" in name for name, _ in model.named_buffers())
    assert moving_statistics(model.eval()) == []
