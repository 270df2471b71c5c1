"""An iteration stays on its device and asks it for nothing: tried on torch's device `meta`, without values.

There a number that is read is an error, and so is a tensor that was left on the CPU beside one that was not:
what a GPU would wait for, or complain of, on a machine that has none.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from longtail.config.presets import METHODS
from longtail.methods.dro_lt import DROLT
from longtail.training.method import StepInfo
from longtail.training.trainer import Trainer
from tests.support.small_training import CLASSES, make_trainer

NOWHERE = torch.device("meta")
READING = {"balms"}
"""Its sampler draws images by probabilities that are learned: it reads them in each iteration."""


@pytest.fixture(autouse=True)
def optimisers_without_values() -> Iterator[None]:
    """torch has no kernels of its fused optimisers for this device; they would only move parameters."""
    library = torch.library.Library("aten", "IMPL", "Meta")
    for name in ("_fused_sgd_", "_fused_adam_"):
        library.impl(name, lambda *given, **named: None)
    yield
    library._destroy()


def trainer(name: str, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(Trainer, "_add_row", lambda *given: None)  # at the end of an epoch numbers are read
    made = make_trainer(name, device=NOWHERE)
    if isinstance(made.method, DROLT):  # measured between epochs
        made.method.centroids = torch.zeros(CLASSES, made.model.classifier.in_features, device=NOWHERE)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("name", sorted(set(METHODS) - READING))
def test_an_iteration_reads_nothing_and_leaves_nothing_on_the_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(name, monkeypatch)
    made.model.train()
    for _ in range(3):  # of which one has a short batch
        scalars = made._step()
    assert made.iteration == 3
    assert {value.device.type for value in scalars.values()} == {"meta"}
    assert {value.device.type for value in made.model.state_dict().values()} == {"meta"}


def test_a_read_and_a_stray_tensor_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer("focal", monkeypatch)
    losses = made.method.sample_losses

    def reads(logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        return losses(logits, labels, info) * float(logits.sum())

    def strays(logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        return losses(logits, labels, info) * torch.ones(len(logits))

    for wrong, complaint in ((reads, r"item\(\) cannot be called on meta"), (strays, "meta.*cpu|cpu.*meta")):
        made.method.sample_losses = wrong
        with pytest.raises(RuntimeError, match=complaint):
            made._step()


def test_the_sampler_of_balms_is_the_one_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        trainer("balms", monkeypatch)._step()
