"""Derivatives along a direction, for modules of many kinds, against reverse mode in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from longtail.meta.tangents import Forward, _Adding, _Product, call_without_trace
from longtail.networks import build_network
from tests.support.naive_loop import distance


class InPlace(nn.Module):
    """Changes what convolution and BatchNorm gave, so that neither can be used again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu_(self.conv(images))
        x = torch.tanh_(self.bn(x))
        return self.fc(x.mean(dim=(2, 3)))


class Shared(nn.Module):
    """One convolution and one BatchNorm, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 3, 3, padding="same"), nn.BatchNorm2d(3), nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.sigmoid(self.bn(self.conv(images)))
        return self.fc(self.bn(self.conv(x)).square().mean(dim=(2, 3)))


def sequence(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def frozen(model: nn.Module) -> nn.Module:
    model[0].requires_grad_(False)  # type: ignore[index]
    return model


MODULES: dict[str, Callable[[], nn.Module]] = {
    "resnet32": lambda: build_network("resnet32", 5, seed=1),
    "in_place": InPlace,
    "shared": Shared,
    "no_bias": lambda: sequence(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU()),
    "grouped": lambda: sequence(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, stride=2, groups=2, dilation=2)),
    "not_affine": lambda: sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.GELU()),
    "no_statistics": lambda: sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    "evaluated": lambda: sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.SiLU()),
    "frozen": lambda: frozen(sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))),
    "group_norm": lambda: sequence(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.SiLU()),
    "flat": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(300, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 5)
    ),
    "volume": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1)),
        nn.Conv3d(3, 4, (1, 3, 3)),
        nn.BatchNorm3d(4),
        nn.Flatten(),
        nn.Linear(256, 5),
    ),
}


def losses(logits: Tensor) -> Tensor:
    """Of one image, [B], with a curvature."""
    return torch.logsumexp(logits, 1) - logits[:, 1]


class Case:
    """A module, images, and a direction of its trained parameters."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(4)
        self.model = MODULES[name]().double()
        evaluated = [module for module in self.model.modules() if not module.training]
        self.model.train()
        for module in evaluated:
            module.eval()
        draws = torch.Generator().manual_seed(6)
        self.images = torch.randn(7, 3, 10, 10, generator=draws, dtype=torch.float64)
        for buffer in self.model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=draws) + 0.5)
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.direction = [
            torch.randn(p.shape, generator=draws, dtype=torch.float64) for p in self.parameters.values()
        ]

    def expected(self) -> Tensor:
        """By reverse mode twice: the gradient, with respect to u, of <J^T u, direction>."""
        values = losses(self.model(self.images))
        u = torch.zeros_like(values, requires_grad=True)
        back = torch.autograd.grad(
            values, list(self.parameters.values()), u, create_graph=True, materialize_grads=True
        )
        along = sum((g * v).sum() for g, v in zip(back, self.direction, strict=True))
        assert isinstance(along, Tensor)
        return torch.autograd.grad(along, u)[0]


@pytest.mark.parametrize("name", MODULES)
def test_the_derivative_is_that_of_reverse_mode(name: str) -> None:
    case = Case(name)
    forward = Forward(case.model, case.images)
    found = forward.derivative(losses, case.parameters, case.direction)
    assert case.expected().norm() > 1e-3
    assert distance(found, case.expected()) < 1e-11


@pytest.mark.parametrize("name", MODULES)
def test_logits_gradients_and_statistics_are_those_of_a_plain_pass(name: str) -> None:
    case, plain = Case(name), Case(name)
    forward, logits = Forward(case.model, case.images), plain.model(plain.images)
    assert torch.equal(forward.logits, logits)
    forward.derivative(losses, case.parameters, case.direction)
    losses(forward.logits).sum().backward()
    losses(logits).sum().backward()
    for (name, own), other in zip(case.parameters.items(), plain.parameters.values(), strict=True):
        assert own.grad is not None, name
        assert other.grad is not None, name
        assert torch.equal(own.grad, other.grad), name
    for (name, own), other in zip(case.model.named_buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(own, other), name


def test_what_was_kept_is_used_and_not_computed_again() -> None:
    case = Case("resnet32")
    forward = Forward(case.model, case.images)
    expected = forward.derivative(losses, case.parameters, case.direction)
    first = forward._kept[0].output  # type: ignore[union-attr]
    assert first.requires_grad is False
    with torch.no_grad():
        first.data.mul_(2.0)  # behind the back of the version that torch counts
    assert distance(forward.derivative(losses, case.parameters, case.direction), expected) > 1e-3


class Clones(TorchDispatchMode):
    """How often the block clones a tensor."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket.__name__ == "clone"
        return func(*args, **(kwargs or {}))


def test_the_tangent_pass_copies_no_statistics() -> None:
    case = Case("resnet32")
    assert len([*case.model.buffers()]) == 93
    forward = Forward(case.model, case.images)
    with Clones() as derived:
        forward.derivative(losses, case.parameters, case.direction)
    with Clones() as called:
        call_without_trace(case.model, case.parameters, case.images)
    assert (derived.number, called.number) == (0, 93)


def test_what_was_changed_in_place_is_computed_again() -> None:
    case = Case("shared")
    forward = Forward(case.model, case.images)
    expected = forward.derivative(losses, case.parameters, case.direction)
    products = [kept for kept in forward._kept if isinstance(kept, _Product)]
    assert len(products) == 3
    for kept in products:
        kept.output.add_(1.0)
    assert distance(forward.derivative(losses, case.parameters, case.direction), expected) < 1e-12


def test_a_direction_of_part_of_the_parameters_is_enough() -> None:
    case = Case("no_bias")
    forward = Forward(case.model, case.images)
    whole = forward.derivative(losses, case.parameters, case.direction)
    parts = [
        forward.derivative(losses, [name], [v])
        for name, v in zip(case.parameters, case.direction, strict=True)
    ]
    assert distance(torch.stack(parts).sum(0), whole) < 1e-11


def test_losses_without_the_model_have_derivative_zero() -> None:
    case = Case("flat")
    forward = Forward(case.model, case.images)
    found = forward.derivative(lambda logits: torch.ones(7), case.parameters, case.direction)
    assert torch.equal(found, torch.zeros(7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_in_the_losses_changes_no_tangent(dtype: torch.dtype) -> None:
    """`z + c`, as in Balanced Softmax, in any order and shape: the bits of torch's own formula."""
    x, direction, constant = (torch.randn(6, 4, dtype=dtype) for _ in range(3))
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, direction)
        sums = [
            lambda: (dual + constant).exp(),
            lambda: (constant[0] + dual).exp(),
            lambda: torch.add(dual[:1], constant).exp(),
            lambda: (dual + dual).exp(),
            lambda: (dual + 1.0).exp(),
            lambda: torch.add(dual, constant, alpha=2).exp(),
        ]
        theirs = [forward_ad.unpack_dual(total()) for total in sums]
        with _Adding():
            ours = [forward_ad.unpack_dual(total()) for total in sums]
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own.primal, other.primal)
        assert own.tangent is not None
        assert other.tangent is not None
        assert torch.equal(own.tangent, other.tangent)


def test_a_model_that_calls_other_layers_is_refused() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.calls = nn.Conv2d(3, 4, 3), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            x = self.conv(images) if self.calls == 1 else images
            return nn.functional.linear(x.mean(dim=(2, 3)), torch.ones(2, x.shape[1], dtype=x.dtype))

    model = Alternating().double()
    forward = Forward(model, torch.randn(2, 3, 5, 5, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="other layers"):
        forward.derivative(losses, ["conv.bias"], [torch.ones(4, dtype=torch.float64)])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)), (1, 4)),
        (nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten()), (1, 1, 2, 2)),
    ],
    ids=["one row", "one pixel"],
)
def test_a_batch_of_one_value_per_channel_is_refused_as_torch_refuses_it(
    model: nn.Module, shape: tuple[int, ...]
) -> None:
    images = torch.randn(*shape)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as torch_says:
        model(images)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as we_say:
        Forward(model, images)
    assert str(we_say.value) == str(torch_says.value)
    assert all(torch.isfinite(buffer).all() for buffer in model.buffers())
    Forward(model, torch.cat([images, -images]))  # two rows are enough
