"""The benchmark of the meta step compares ways that compute the same thing."""

import pytest
import torch

from benchmarks.meta_ways import WAYS, Setting, cross_entropy
from tests.support.naive_loop import distance

SMALL = Setting(torch.device("cpu"), torch.float64, batch=6, meta=4)


def gradient(name: str) -> torch.Tensor:
    step, theta = WAYS[name](SMALL)
    step()
    return torch.cat([value.grad.flatten() for value in theta if value.grad is not None])


@pytest.mark.parametrize(("name", "library"), [("higher", "higher"), ("TorchOpt", "torchopt")])
def test_a_library_gives_the_gradient_of_double_backward(name: str, library: str) -> None:
    pytest.importorskip(library, reason="comes with the extra 'benchmarks'")
    assert distance(gradient(name), gradient("double backward")) < 1e-10


def test_the_exact_way_gives_the_gradient_of_double_backward() -> None:
    expected = gradient("double backward")
    assert expected.norm() > 1e-6
    assert distance(gradient("Difficulty-Net, exact"), expected) < 1e-10


def test_both_dtypes_start_from_the_same_theta() -> None:
    single, double = (
        Setting(torch.device("cpu"), dtype).method("difficulty_net")
        for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(single.theta, double.theta, strict=True):  # type: ignore[attr-defined]
        assert (one.dtype, other.dtype) == (torch.float32, torch.float64)
        assert torch.equal(one.double(), other)


def test_the_plain_step_has_no_theta() -> None:
    step, theta = cross_entropy(SMALL)
    step()
    assert theta == []
