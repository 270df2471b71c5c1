"""The deterministic mode: set where trainings run, and no method needs what it refuses."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from longtail.config.presets import METHODS
from longtail.networks import build_network
from longtail.pipeline.workers import Workers
from longtail.running.process import DETERMINISTIC, use_deterministic
from longtail.training.trainer import predict
from tests.support.small_training import make_trainer

REFUSED_ON_A_GPU = {
    "adaptive_max_pool2d_backward",
    "avg_pool3d_backward",
    "fractional_max_pool2d_backward",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "max_unpool2d",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad2d_backward",
    "upsample_bilinear2d_backward",
    "_adaptive_avg_pool2d_backward",
    "_embedding_bag",
}
"""Of torch's operators those for which its documentation of `use_deterministic_algorithms` names an error on
CUDA, and which a network for images or its loss could use."""


class Recorder(TorchDispatchMode):
    """The names of the operators called in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The deterministic mode, for the time of a test."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # put back after the test
    before = torch.backends.cudnn.benchmark
    use_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = before
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


def flags() -> tuple[bool, bool, str | None]:
    """How a process stands."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", (True, False, ":4096:8")), ("0", (False, False, None)), (None, (False, False, None))],
)
def test_the_variable_sets_the_mode_in_workers_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: tuple[bool, bool, str | None]
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.delenv(DETERMINISTIC, raising=False)
    if value is not None:
        monkeypatch.setenv(DETERMINISTIC, value)
    with Workers(1, 1, "cpu", {"cross_entropy"}, {}) as workers:
        assert workers._pool.submit(flags).result(timeout=60) == expected
    assert flags() == (False, False, None)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_in_the_mode_on_the_cpu(method: str) -> None:
    trainer = make_trainer(method, iterations=4)
    with Recorder() as recorder:
        assert len(list(trainer.iterations())) == 4
        predict(trainer.model, trainer.data.train.pixels)
    assert "convolution" in recorder.names
    assert not recorder.names & REFUSED_ON_A_GPU


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("network", ["resnet10", "resnet32"])
def test_the_networks_for_photographs_train_in_the_mode_on_the_cpu(network: str) -> None:
    with Recorder() as recorder:
        build_network(network, 5, seed=1)(torch.ones(2, 3, 64, 64)).sum().backward()
    assert "convolution_backward" in recorder.names
    assert not recorder.names & REFUSED_ON_A_GPU


@pytest.mark.usefixtures("mode")
def test_the_mode_writes_new_tensors_no_second_time() -> None:
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


@pytest.mark.usefixtures("mode")
def test_the_mode_refuses_what_has_no_order() -> None:
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))


def test_the_recorder_sees_what_a_gpu_would_refuse() -> None:
    pixels = torch.zeros(1, 1, 4, 4, requires_grad=True)
    with Recorder() as recorder:
        torch.nn.functional.pad(pixels, (1, 1, 1, 1), mode="reflect").sum().backward()
    assert recorder.names & REFUSED_ON_A_GPU == {"reflection_pad2d_backward"}
