"""Numbers of bits: what each precision changes, and that float32 is float32."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from longtail.config.presets import METHODS
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.precision import PRECISIONS, matmul_precision, with_precision
from tests.support.naive_loop import distance
from tests.support.small_training import make_trainer


def flags() -> list[object]:
    convolutions = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    return [torch.backends.cuda.matmul.fp32_precision, convolutions.fp32_precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_rounds_to_tf32_only_where_that_is_asked_for(precision: str) -> None:
    before = flags()
    with matmul_precision(precision):
        assert set(flags()) == {"tf32" if precision == "tf32" else "ieee"}
    assert flags() == before


def test_the_flags_come_back_after_an_error() -> None:
    before = flags()
    with pytest.raises(RuntimeError), matmul_precision("tf32"):
        raise RuntimeError
    assert flags() == before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_and_gradients_are_float32_and_close(precision: str) -> None:
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = build_network("resnet32", 5, seed=1)
    network = with_precision(build_network("resnet32", 5, seed=1), precision)
    logits, expected = network(images), plain(images)
    assert logits.dtype == torch.float32
    assert (precision == "bf16") is not torch.equal(logits, expected)
    assert distance(logits.detach(), expected.detach()) < 0.05
    logits.sum().backward()
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in network.parameters())


class Convolutions(TorchDispatchMode):
    """The types of the numbers that convolutions of the block take."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__.startswith("convolution"):
            self.types |= {value.dtype for value in args if isinstance(value, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", METHODS)
def test_in_bf16_every_pass_of_a_training_is(name: str) -> None:
    """Also where a method calls `features` or a copy of the network; the weights stay float32."""
    for precision, expected in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        with Convolutions() as convolutions:
            trainer = make_trainer(name, precision=precision, iterations=4)
            trainer.run()
        assert convolutions.types == {expected}
        assert {
            value.dtype for value in trainer.model.state_dict().values() if value.is_floating_point()
        } == {torch.float32}


def test_a_network_in_bf16_is_freed_with_its_last_name() -> None:
    gc.collect()
    gc.disable()
    try:
        network = with_precision(build_network("digits_resnet", 5, seed=1), "bf16")
        network(torch.zeros(2, 1, 8, 8)).sum().backward()
        seen = weakref.ref(network)
        del network
        assert seen() is None
    finally:
        gc.enable()


def test_difficulty_net_learns_in_bf16_and_its_own_network_stays_float32() -> None:
    counts = torch.tensor([40, 20, 9, 4, 2])
    settings = METHODS["difficulty_net"].settings().model_dump(by_alias=True)
    images = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(12) % 5
    found = {}
    for precision in ("float32", "bf16"):
        method = build_method("difficulty_net", settings, Task(counts, 1, 20.0))
        method.refresh(torch.linspace(0.9, 0.1, 5))
        network = with_precision(build_network("resnet32", 5, seed=1), precision).train()
        batch, meta = Batch(images, labels), Batch(images.flip(0), labels)
        scalars = method.backward(network, batch, meta, StepInfo(0, 10, 0.01))
        found[precision] = scalars["meta_loss"]
        assert all(torch.isfinite(value) for value in scalars.values())
        assert {value.dtype for value in method.state()["net"].values()} == {torch.float32}
    torch.testing.assert_close(found["bf16"], found["float32"], rtol=0.05, atol=0)
