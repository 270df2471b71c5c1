"""A forward pass, and its derivative along a direction of the parameters.

torch's forward mode computes every value a second time along with its derivative, and its BatchNorm formula
makes many passes over memory. Here the tangent pass reuses the outputs of convolutions and linear layers (the
graph of the forward pass holds them anyway) and the batch statistics of BatchNorm. The Jacobian of BatchNorm
with respect to its input is symmetric, so its backward kernel also computes its tangent. torch handles all
other operations, so any module works.
"""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

LINEAR = (torch.conv1d, torch.conv2d, torch.conv3d, F.linear)
"""Functions linear in (weight, bias) and, without the bias, in their input."""
ADD = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
BATCH_NORM = inspect.signature(F.batch_norm)
DIVERGED = "the model called other layers than in its forward pass"


@cache
def load_forward_mode() -> None:
    """Load torch's forward-mode formulas: at first use, they warn about torch's own deprecated calls."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", FutureWarning)
        torch.exp(forward_ad.make_dual(torch.zeros(1), torch.zeros(1)))


def call_without_trace(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, uncopied: Collection[str] = ()
) -> Tensor:
    """`model(images)` at other parameters; the model's buffers (BatchNorm statistics) do not change.

    `uncopied`: names of buffers that the call does not write, or that are among `parameters`.
    """
    buffers = {name: value.clone() for name, value in model.named_buffers() if name not in uncopied}
    return functional_call(model, {**parameters, **buffers}, (images,))


def _batch_norm_buffers(model: nn.Module) -> dict[str, bool]:
    """The names of BatchNorm's buffers, and whether each is a count of calls."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # subclasses may do more
    return {
        f"{path}.{name}" if path else name: name == "num_batches_tracked"
        for path, module in model.named_modules()
        if type(module) in kinds
        for name, _ in module.named_buffers(recurse=False)
    }


@dataclass(frozen=True)
class _Product:
    """The output of a function of `LINEAR`, and the version of that tensor."""

    function: Callable[..., Tensor]
    output: Tensor
    version: int

    @property
    def intact(self) -> bool:
        """Whether the output is unchanged since then."""
        return self.output._version == self.version


@dataclass(frozen=True)
class _Statistics:
    """Batch statistics of one BatchNorm, [channels]. Its output is not kept: no graph holds that tensor."""

    mean: Tensor
    inverse_std: Tensor


class Forward:
    """One run of `model(images)`; `logits` carries the graph for the backward pass.

    The model must be a function of its parameters and the images alone: with dropout, for example, the
    derivative would belong to a different draw.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images
        self._kept: list[_Product | _Statistics] = []
        with _Keeping(self._kept):
            self.logits: Tensor = model(images)

    def derivative(
        self, function: Callable[[Tensor], Tensor], names: Iterable[str], direction: Iterable[Tensor]
    ) -> Tensor:
        """The derivative of `function(logits)` as the parameters `names` move along `direction`.

        No `.grad` and no buffer of the model changes.
        """
        load_forward_mode()
        with torch.no_grad(), forward_ad.dual_level():
            dual = {
                name: forward_ad.make_dual(self.model.get_parameter(name).detach(), tangent)
                for name, tangent in zip(names, direction, strict=True)
            }
            with _Moving(self._kept):
                # BatchNorm is `_batch_norm` here, and writes nothing but its count
                own, count = _batch_norm_buffers(self.model), self.images.new_zeros((), dtype=torch.int64)
                given = {**dual, **{name: count for name, counts in own.items() if counts}}
                logits = call_without_trace(self.model, given, self.images, own)
            with _Adding():
                value, tangent = forward_ad.unpack_dual(function(logits))
        return torch.zeros_like(value) if tangent is None else tangent


def _batch_norm_arguments(func: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
    """All arguments by name if this is a BatchNorm call that uses batch statistics, else None."""
    if func is not F.batch_norm:
        return None
    given = BATCH_NORM.bind(*args, **kwargs)
    given.apply_defaults()
    return given.arguments if given.arguments["training"] else None


def _refuse_one_value(inputs: Tensor) -> None:
    """The check of `F.batch_norm`, in its words: the variance of a single value is zero."""
    if inputs.numel() == inputs.shape[1]:
        size = inputs.size()
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


class _Keeping(TorchFunctionMode):
    """Records the outputs of convolutions and linear layers, and the statistics of BatchNorm."""

    def __init__(self, kept: list[_Product | _Statistics]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        norm = _batch_norm_arguments(func, args, kwargs)
        if norm is not None:
            _refuse_one_value(norm["input"])
            # torch.batch_norm calls this too; it also returns the batch statistics
            output, mean, inverse_std, *_ = torch._batch_norm_impl_index(  # pyright: ignore[reportPrivateImportUsage]
                **norm, cudnn_enabled=torch.backends.cudnn.enabled
            )
            self.kept.append(_Statistics(mean, inverse_std))
            return output
        output = func(*args, **kwargs)
        if func in LINEAR:
            self.kept.append(_Product(func, output.detach(), output._version))
        return output


class _Moving(TorchFunctionMode):
    """Re-runs the model on dual tensors, with the recorded values and the formulas below."""

    def __init__(self, kept: list[_Product | _Statistics]) -> None:
        super().__init__()
        self.kept = iter(kept)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        norm = _batch_norm_arguments(func, args, kwargs)
        if norm is None and func not in LINEAR:
            return func(*args, **kwargs)
        kept = next(self.kept, None)
        if norm is not None and isinstance(kept, _Statistics):
            return _batch_norm(kept, norm["input"], norm["weight"], norm["bias"], norm["eps"])
        if norm is None and isinstance(kept, _Product) and kept.function is func:
            return _linear(kept, *args, **kwargs)
        raise RuntimeError(DIVERGED)


class _Adding(TorchFunctionMode):
    """Adds a constant to a dual tensor: the sum's tangent is that of the dual tensor.

    torch's own formula adds a tensor of zeros by way of Python, and imports `torch.compile` for it, which
    takes longer than training a small cell.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ADD and not kwargs and all(isinstance(value, Tensor) for value in args):
            (x, dx), (y, dy) = map(forward_ad.unpack_dual, args)
            tangent = dx if dy is None else dy if dx is None else None
            if tangent is not None:
                total = func(x, y)
                return forward_ad.make_dual(total, tangent.to(total.dtype).expand_as(total))
        return func(*args, **(kwargs or {}))


def _parts(value: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Value and tangent of a dual tensor; None for what is missing."""
    return (None, None) if value is None else forward_ad.unpack_dual(value)


def _linear(
    kept: _Product, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> Tensor:
    """f(x, W, b) and f(dx, W, 0) + f(x, dW, db)."""
    function = kept.function
    (x, dx), (w, dw), (b, db) = forward_ad.unpack_dual(input), forward_ad.unpack_dual(weight), _parts(bias)
    output = kept.output if kept.intact else function(x, w, b, *rest, **named)
    tangent = None if dx is None else function(dx, w, None, *rest, **named)
    if dw is not None or db is not None:
        own = function(x, torch.zeros_like(w) if dw is None else dw, db, *rest, **named)
        tangent = own if tangent is None else tangent.add_(own)
    return output if tangent is None else forward_ad.make_dual(output, tangent)


def _batch_norm(
    kept: _Statistics, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """y = gamma x' + beta with x' = (x - mean) / std, and J dx + dgamma x' + dbeta."""
    mean, inverse_std = kept.mean, kept.inverse_std
    (x, dx), (gamma, dgamma), (beta, dbeta) = forward_ad.unpack_dual(input), _parts(weight), _parts(bias)
    output = _affine(x, mean, inverse_std if gamma is None else gamma * inverse_std, beta)
    tangent = None
    if dx is not None:
        tangent = torch.ops.aten.native_batch_norm_backward(
            dx, x, gamma, None, None, mean, inverse_std, True, eps, [True, False, False]
        )[0]
    if dgamma is not None or dbeta is not None:
        scale = torch.zeros_like(mean) if dgamma is None else dgamma * inverse_std
        tangent = _affine(x, mean, scale, dbeta, onto=tangent)
    return output if tangent is None else forward_ad.make_dual(output, tangent)


def _affine(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor | None, onto: Tensor | None = None
) -> Tensor:
    """(x - mean) * scale + shift per channel, in x's dtype; added in place to `onto` if given."""
    channels = (1, -1, *[1] * (x.ndim - 2))
    offset = (-mean * scale if shift is None else shift - mean * scale).view(channels)
    scale = scale.view(channels)
    if onto is not None:
        return onto.addcmul_(x, scale).add_(offset)
    return torch.addcmul(offset, x, scale).to(x.dtype)
