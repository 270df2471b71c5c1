"""The exact gradient of a meta loss through one step of gradient descent, without double backward.

The inner step (Eq. 9) is  phi_hat = phi - (alpha/B) sum_i w_i grad l_i(phi).  The weights enter it linearly,
so with v = grad L_meta(phi_hat)

    dL_meta/dw_i = -(alpha/B) <grad l_i(phi), v>,

and the inner product is the derivative of the i-th sample's loss along v: one tangent (forward-mode) pass
gives it for all samples at once. The chain rule then gives the gradient for the parameters theta that made w,
dL_meta/dtheta = (dw/dtheta)^T dL_meta/dw, the second term of Eq. 10.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.meta.tangents import Forward, call_without_trace

Summed = Callable[[Sequence[Tensor]], list[Tensor]]
"""Sums each tensor over processes that each have a part of the batch; `list` for a single process."""


@dataclass(frozen=True)
class MetaGradient:
    """The result of one look-ahead step."""

    sample_weights: Tensor
    """dL_meta/dw_i, [B]."""
    loss: Tensor
    """L_meta at phi_hat, scalar."""


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The parameters phi that the inner step moves, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def meta_loss(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """L_meta of Eq. 8 as a function of the parameters: `criterion` (a mean) on a meta batch, labels [M]."""
    return lambda parameters: criterion(call_without_trace(model, parameters, images), labels)


def through_weights(weights: Tensor, parameters: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
    """(dw/dtheta)^T dL_meta/dw for the parameters theta, of w and dL_meta/dw, both [B].

    As the gradient of a product: `grad_outputs` would say the same, but at its first use in a process torch
    imports sympy, which takes longer than training a small cell.
    """
    return torch.autograd.grad(torch.dot(weights, gradient.to(weights.dtype)), parameters)


def weighted_backward(losses: Tensor, weights: Tensor) -> Tensor:
    """Backward pass of (1/B) sum_i w_i l_i, losses and weights [B] (Eq. 11); returns that loss, detached."""
    loss = torch.dot(weights, losses) / losses.numel()
    loss.backward()
    return loss.detach()


def _scaled(tensors: Sequence[Tensor], rates: Sequence[float]) -> list[Tensor]:
    # most trainings have all rates at 1: compute nothing then
    return [own if rate == 1 else own * rate for own, rate in zip(tensors, rates, strict=False)]


def _look_ahead(
    loss: Tensor,
    values: list[Tensor],
    step_size: float | Tensor,
    drift: Sequence[Tensor] | None,
    rates: Sequence[float] | None,
    summed: Summed,
) -> list[Tensor]:
    """phi_hat of Eq. 9. A function of its own, so that its gradients are freed before the next pass."""
    gradients = summed(torch.autograd.grad(loss, values, retain_graph=True, materialize_grads=True))
    add, mul = torch._foreach_add, torch._foreach_mul  # pyright: ignore[reportPrivateImportUsage]
    if drift is not None:
        gradients = add(gradients, list(drift))
    if rates is not None:
        gradients = _scaled(gradients, rates)
    with torch.no_grad():
        if isinstance(step_size, Tensor):  # `alpha=` would read its value, which waits for the device
            ahead = add(values, list(mul(list(gradients), -step_size)))
        else:
            ahead = add(values, list(gradients), alpha=-step_size)
    return [value.requires_grad_() for value in ahead]


def _gradient(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The gradient of `loss` for `leaves`, in memory allocated before the backward pass.

    `torch.autograd.grad` would allocate it piece by piece while the graph is freed; the pieces fragment that
    memory, and the next pass could not reuse it.
    """
    gradients = [torch.zeros_like(leaf) for leaf in leaves]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient
    loss.backward(inputs=leaves)
    return gradients


def weight_gradient(
    forward: Forward,
    losses: Tensor,
    weights: Tensor,
    sample_losses: Callable[[Tensor], Tensor],
    meta_loss: Callable[[Mapping[str, Tensor]], Tensor],
    step_size: float | Tensor,
    drift: Sequence[Tensor] | None = None,
    rates: Sequence[float] | None = None,
    summed: Summed = list,
) -> MetaGradient:
    """dL_meta/dw for per-sample weights w, through one gradient step of size `step_size`.

    Args:
        forward: the forward pass of the model over the batch at phi, in training mode.
        losses: per-sample losses l_i(phi) of its logits, [B], with their graph. The graph is kept, so the
            update of phi (Eq. 11) can reuse it.
        weights: w_i, [B]; used as constants.
        sample_losses: the function from logits [B, C] to losses [B] that gave `losses`.
        meta_loss: L_meta, a scalar, as a function of the parameters; usually `meta_loss`.
        step_size: alpha.
        drift: added to the gradient of each trained parameter in the inner step: the part of momentum and
            weight decay (`SGD.linear_step`). None: plain gradient descent.
        rates: a factor on `step_size` for each trained parameter; further entries are ignored. None: all 1.
        summed: where `forward` has a part of the batch only: `losses`, `weights`, `sample_losses` and
            `meta_loss` are then of the whole batches, with the graph of this part.

    Returns:
        `MetaGradient`. No `.grad` and no buffer of the model changes.
    """
    parameters = trained_parameters(forward.model)
    weighted = torch.dot(weights.detach(), losses) / losses.numel()
    ahead = _look_ahead(weighted, list(parameters.values()), step_size, drift, rates, summed)
    loss = meta_loss(dict(zip(parameters, ahead, strict=True)))
    direction = summed(_gradient(loss, ahead))
    if rates is not None:
        direction = _scaled(direction, rates)

    (slope,) = summed([forward.derivative(sample_losses, parameters, direction)])
    return MetaGradient(sample_weights=slope * (-step_size / losses.numel()), loss=loss.detach())
