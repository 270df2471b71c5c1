"""One iteration of Difficulty-Net on ResNet-32, done in several ways from the same state.

Each way is given a `Setting` and returns a function that runs one iteration: the step on theta (Eqs. 7-10,
whose gradient stays in `.grad`) and the step on phi (Eq. 11). `higher` and TorchOpt are two public libraries
that differentiate through an inner step by double backward; both get the same memory layout and the same
optimisers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from longtail.config.presets import METHODS
from longtail.meta.difficulty import class_weights, driver_loss
from longtail.methods import build_method
from longtail.methods.difficulty_net import DifficultyNetMethod
from longtail.networks import build_network
from longtail.randomness import generator
from longtail.training.method import Batch, Method, StepInfo, Task
from longtail.training.optimisers import SGD

CLASSES = 100
RATE = 0.1
"""At the start of the paper's schedule."""
Step = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """Where and on how many images."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    batch: int = 128
    meta: int = 100

    def images(self, count: int, stream: str) -> Tensor:
        """Noise [count, 3, 32, 32], channels last."""
        made = torch.randn(count, 3, 32, 32, generator=generator(1, stream))
        return made.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def batches(self) -> tuple[Batch, Batch]:
        """A training batch with a long tail, and a meta batch of all classes."""
        share = torch.logspace(0, -2, CLASSES)
        labels = torch.multinomial(share, self.batch, replacement=True, generator=generator(1, "labels"))
        meta_labels = torch.arange(self.meta) % CLASSES
        return (
            Batch(self.images(self.batch, "train"), labels.to(self.device)),
            Batch(self.images(self.meta, "meta"), meta_labels.to(self.device)),
        )

    def model(self) -> nn.Module:
        """ResNet-32 in training mode."""
        network = build_network("resnet32", CLASSES, seed=1).to(self.device, self.dtype)
        return network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def method(self, name: str, **settings: Any) -> Method:
        """A method with the settings of the paper, after some accuracies were measured."""
        task = Task(torch.logspace(2.6, 0.6, CLASSES).long(), 1, 100.0, self.device)
        chosen = METHODS[name].settings.model_validate(settings).model_dump(by_alias=True)
        method = build_method(name, chosen, task)
        if self.dtype != torch.float32:
            before = torch.get_default_dtype()
            torch.set_default_dtype(self.dtype)
            try:
                rounded, method = method, build_method(name, chosen, task)
            finally:
                torch.set_default_dtype(before)
            if isinstance(method, DifficultyNetMethod) and isinstance(rounded, DifficultyNetMethod):
                method.net.load_state_dict(rounded.net.state_dict())  # draws of another dtype differ
        method.refresh(torch.rand(CLASSES, generator=generator(1, "accuracies"), dtype=torch.float64))
        return method


def _own(setting: Setting, method: Method) -> Step:
    """An iteration of this project's trainer."""
    model, (batch, meta) = setting.model(), setting.batches()
    optimiser = SGD(model.parameters(), momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        method.backward(model, batch, meta, StepInfo(0, 12_800, RATE, optimiser))
        optimiser.step(RATE)

    return step


def cross_entropy(setting: Setting) -> tuple[Step, list[Tensor]]:
    """A plain step."""
    return _own(setting, setting.method("cross_entropy")), []


def exact(setting: Setting) -> tuple[Step, list[Tensor]]:
    """This project's Difficulty-Net."""
    method = setting.method("difficulty_net")
    assert isinstance(method, DifficultyNetMethod)
    return _own(setting, method), [*method.theta]


Inner = Callable[[Callable[[Tensor], Tensor]], Tensor]
"""A model's forward pass to the weighted loss of the training batch."""


def _around(
    setting: Setting, meta_loss: Callable[[nn.Module, Inner, Batch], Tensor]
) -> tuple[Step, list[Tensor]]:
    """The iteration around `meta_loss`, which gives L_meta after the inner step, with its graph."""
    model, (batch, meta) = setting.model(), setting.batches()
    method = setting.method("difficulty_net")
    assert isinstance(method, DifficultyNetMethod)
    optimiser = SGD(model.parameters(), momentum=0.9, weight_decay=1e-4)

    def weighted(forward: Callable[[Tensor], Tensor]) -> Tensor:
        weights = class_weights(method.net(method.accuracy))[batch.labels]
        losses = F.cross_entropy(forward(batch.images), batch.labels, reduction="none")
        return (weights * losses).mean()

    def step() -> None:
        driver = driver_loss(method.net(method.accuracy), method.accuracy, "mean")
        total = method.settings.lambda_ * driver + meta_loss(model, weighted, meta)
        for parameter, value in zip(method.theta, torch.autograd.grad(total, method.theta), strict=True):
            parameter.grad = value
        del total
        method.optimiser.step()
        optimiser.zero_grad()
        gradients = torch.autograd.grad(weighted(model), list(model.parameters()))
        for parameter, value in zip(model.parameters(), gradients, strict=True):
            parameter.grad = value
        optimiser.step(RATE)

    return step, [*method.theta]


def double_backward(setting: Setting) -> tuple[Step, list[Tensor]]:
    """Without a library."""

    def meta_loss(model: nn.Module, inner: Inner, meta: Batch) -> Tensor:
        phi = dict(model.named_parameters())
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        loss = inner(lambda images: functional_call(model, {**phi, **buffers}, (images,)))
        gradients = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
        ahead = {name: p - RATE * g for (name, p), g in zip(phi.items(), gradients, strict=True)}
        return F.cross_entropy(functional_call(model, {**ahead, **buffers}, (meta.images,)), meta.labels)

    return _around(setting, meta_loss)


def with_higher(setting: Setting) -> tuple[Step, list[Tensor]]:
    """By the library `higher`."""
    import higher  # pyright: ignore[reportMissingImports]

    def meta_loss(model: nn.Module, inner: Inner, meta: Batch) -> Tensor:
        optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
        with higher.innerloop_ctx(model, optimiser, copy_initial_weights=False) as (ahead, look):
            look.step(inner(ahead))
            return F.cross_entropy(ahead(meta.images), meta.labels)

    return _around(setting, meta_loss)


def with_torchopt(setting: Setting) -> tuple[Step, list[Tensor]]:
    """By the library TorchOpt."""
    import torchopt  # pyright: ignore[reportMissingImports]

    def meta_loss(model: nn.Module, inner: Inner, meta: Batch) -> Tensor:
        before = torchopt.extract_state_dict(model, by="reference")
        torchopt.MetaSGD(model, lr=RATE).step(inner(model))
        loss = F.cross_entropy(model(meta.images), meta.labels)
        torchopt.recover_state_dict(model, before)
        return loss

    return _around(setting, meta_loss)


WAYS: dict[str, Callable[[Setting], tuple[Step, list[Tensor]]]] = {
    "cross-entropy": cross_entropy,
    "Difficulty-Net, exact": exact,
    "double backward": double_backward,
    "higher": with_higher,
    "TorchOpt": with_torchopt,
}
