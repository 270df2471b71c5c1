"""SGD and Adam from torch's functional kernels.

The first use of a `torch.optim` class in a process imports the machinery of `torch.compile`, which takes
longer than training a small cell; the functional kernels do not. The learning rate is an argument of each
step, since the schedule is a function of the iteration.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd


class SGD:
    """Stochastic gradient descent with momentum and weight decay (added to the gradient)."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        momentum: float,
        weight_decay: float,
        nesterov: bool = False,
        rates: Sequence[float] | None = None,
    ) -> None:
        """`rates`: a factor on the learning rate per parameter; None: all 1."""
        self.parameters = list(parameters)
        self.rates = [1.0] * len(self.parameters) if rates is None else list(rates)
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.buffers: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """Update the parameters that have a `.grad`."""
        for rate in dict.fromkeys(self.rates):
            self._step(learning_rate * rate, [i for i, own in enumerate(self.rates) if own == rate])

    def _step(self, learning_rate: float | Tensor, which: list[int]) -> None:
        moved = [i for i in which if self.parameters[i].grad is not None]
        if not moved:
            return
        buffers = [self.buffers[i] for i in moved]
        sgd(
            [self.parameters[i] for i in moved],
            [self.parameters[i].grad for i in moved],  # type: ignore[misc]
            buffers,
            fused=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=learning_rate,  # type: ignore[arg-type]
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )
        for i, buffer in zip(moved, buffers, strict=True):
            self.buffers[i] = buffer

    def linear_step(self) -> tuple[float, list[Tensor]]:
        """(gain, drift) of the next step, which adds -learning_rate * (gain * gradient + drift).

        The learning rate is scaled by the parameter's factor of `rates`. The drift, one tensor per parameter,
        is the part of momentum and weight decay.
        """
        gain = 1 + self.momentum if self.nesterov else 1.0
        carried = self.momentum**2 if self.nesterov else self.momentum
        with torch.no_grad():
            drift = [gain * self.weight_decay * parameter for parameter in self.parameters]
            for own, buffer in zip(drift, self.buffers, strict=True):
                if buffer is not None:
                    own += carried * buffer
        return gain, drift

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        """The momentum of every parameter."""
        return {"buffers": self.buffers}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.buffers = list(state["buffers"])


class Adam:
    """Adam (Kingma & Ba, ICLR 2015) with weight decay added to the gradient."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay, self.betas, self.eps = learning_rate, weight_decay, betas, eps
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters; each must have a `.grad`."""
        adam(
            self.parameters,
            [parameter.grad for parameter in self.parameters],  # type: ignore[misc]
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        """Both moments and the step count of every parameter."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name in ("means", "squares", "steps"):
            for own, value in zip(getattr(self, name), state[name], strict=True):
                own.copy_(value)
