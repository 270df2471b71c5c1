"""Trainings that look one step ahead, the naive way: what the tests of such methods compare with."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from longtail.training.trainer import Trainer

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def plain(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropies [B] of logits [B, C] and labels [B]."""
    return torch.logsumexp(logits, 1) - logits[torch.arange(len(labels)), labels]


def distance(one: Tensor, other: Tensor) -> float:
    """Relative, of the norms."""
    return float((one - other).norm() / other.norm())


class NaiveAdam:
    """Kingma and Ba's algorithm on theta, one line after the other, with weight decay in the gradient."""

    def __init__(self, theta: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        self.theta, self.learning_rate, self.weight_decay = theta, learning_rate, weight_decay
        self.first = [torch.zeros_like(value) for value in theta]
        self.second = [torch.zeros_like(value) for value in theta]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move theta."""
        self.steps += 1
        for i, (value, gradient) in enumerate(zip(self.theta, gradients, strict=True)):
            g = gradient + self.weight_decay * value
            self.first[i] = BETA1 * self.first[i] + (1 - BETA1) * g
            self.second[i] = BETA2 * self.second[i] + (1 - BETA2) * g * g
            m, v = self.first[i] / (1 - BETA1**self.steps), self.second[i] / (1 - BETA2**self.steps)
            value -= self.learning_rate * m / (v.sqrt() + EPSILON)


class NaiveLoop:
    """A training with one look ahead: double backward through the network, SGD and Adam by hand."""

    def __init__(self, trainer: Trainer) -> None:
        self.data, self.training = trainer.data, trainer.training
        self.model = copy.deepcopy(trainer.model).train()
        self.momentum = [torch.zeros_like(value) for value in self.model.parameters()]
        self.classes = len(trainer.history.rows[0]["accuracy"])
        self.accuracy = torch.zeros(self.classes, dtype=torch.float64)
        self.iteration = 0

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses of images, [B]: cross-entropy, where a method has no other."""
        return plain(logits, labels)

    def losses(self) -> tuple[Tensor, Tensor]:
        """Losses of the training batch, [B], and its labels; running statistics move."""
        batch = self.data.train_batch(self.iteration)
        return self.loss(self.model(batch.images), batch.labels), batch.labels

    def meta_loss(self, inner: Callable[[Tensor, Tensor], Tensor], rate: float) -> Tensor:
        """L_meta after a step of size `rate` on inner(losses, labels), with the graph of that step."""
        batch, meta = self.data.train_batch(self.iteration), self.data.meta_batch(self.iteration)
        phi = dict(self.model.named_parameters())
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        losses = self.loss(functional_call(self.model, {**phi, **buffers}, (batch.images,)), batch.labels)
        gradients = torch.autograd.grad(inner(losses, batch.labels), list(phi.values()), create_graph=True)
        ahead = {name: p - rate * g for (name, p), g in zip(phi.items(), gradients, strict=True)}
        logits = functional_call(self.model, {**ahead, **buffers}, (meta.images,))
        return self.outer(logits, meta.labels).mean()

    def outer(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses of meta images, [B]: cross-entropy, where a method has no other."""
        return plain(logits, labels)

    def descend(self, loss: Tensor, rate: float) -> None:
        """A step on `loss` with momentum and weight decay."""
        gradients = torch.autograd.grad(loss, list(self.model.parameters()))
        with torch.no_grad():
            for i, (value, gradient) in enumerate(zip(self.model.parameters(), gradients, strict=True)):
                decayed = gradient + self.training.weight_decay * value
                self.momentum[i] = self.training.momentum * self.momentum[i] + decayed
                value -= rate * self.momentum[i]

    def iterate(self, rate: float) -> None:
        """One iteration of the method."""
        raise NotImplementedError

    def run(self) -> None:
        """All iterations, and the accuracies after each epoch."""
        per_epoch = self.data.batches_per_epoch
        rates = [0.1, 0.12, 0.14, 0.16, 0.18] + [0.2] * 3 + [0.02] * 2 + [0.002] * self.training.iterations
        for iteration in range(self.training.iterations):
            self.iteration = iteration
            self.iterate(rates[iteration])
            if (iteration + 1) % per_epoch == 0 or iteration + 1 == self.training.iterations:
                self.refresh()

    def refresh(self) -> None:
        """Accuracies on the whole meta set, in evaluation mode."""
        self.model.eval()
        with torch.no_grad():
            predicted = self.model(self.data.meta.pixels).argmax(1)
        self.model.train()
        labels = self.data.meta.labels
        values = [(predicted[labels == c] == c).double().mean() for c in range(self.classes)]
        self.accuracy = torch.stack(values)

    def assert_same_model(self, model: nn.Module, tolerance: float = 1e-8) -> None:
        """Parameters and running statistics."""
        found, expected = model.state_dict(), self.model.state_dict()
        assert any("running_var" in name for name in found)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance, msg=name)
