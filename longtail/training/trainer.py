"""The training loop: the only one, for every method and every stage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from longtail.config.training import Training
from longtail.errors import DivergedError, MachineError, and_more
from longtail.meta.difficulty import difficulty_entropy
from longtail.training.batches import PART, TrainingData
from longtail.training.finite import not_finite, tensors_of
from longtail.training.graphs import Replays, cuda_recorder
from longtail.training.histories import History
from longtail.training.image_sets import ImageSet
from longtail.training.method import Batch, Method, StepInfo
from longtail.training.optimisers import SGD
from longtail.training.schedules import learning_rate
from longtail.training.throttle import Throttle


@torch.no_grad()
def predict(model: nn.Module, images: Tensor | ImageSet) -> Tensor:
    """Logits [N, C] of images [N, channels, H, W] in evaluation mode; the model's mode is restored."""
    was_training = model.training
    model.eval()
    parts = images.split(PART) if isinstance(images, Tensor) else images.batches()
    logits = torch.cat([model(part) for part in parts])
    model.train(was_training)
    return logits if isinstance(images, Tensor) else images.ranks.whole(logits, len(images.labels))


def class_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Accuracies float64 [C] in 0..1 (0 for a class without an image), of logits [N, C] and labels [N]."""
    classes = logits.shape[1]
    hits = torch.bincount(labels[logits.argmax(dim=1) == labels], minlength=classes)
    return hits.double() / torch.bincount(labels, minlength=classes).clamp(min=1)


def copied(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def moving_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of the BatchNorm layers in training mode."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    moving = [layer for layer in layers if layer.training and layer.running_mean is not None]
    return [own for layer in moving for own in (layer.running_mean, layer.running_var) if own is not None]


class Trainer:
    """One training, from its first iteration or a saved state to its last.

    After each epoch (and the last iteration) the accuracies on the meta set are measured, the method is
    told, a row is added to the history, and the weights are kept if their mean accuracy is the best.

    Non-finite numbers are looked for at the end of each epoch. With `careful`, every step is checked, which
    finds the first bad iteration and term but makes a GPU wait.

    With several ranks, all have the same state after each iteration, to the byte: gradients are sums, and
    BatchNorm's running statistics means over the ranks. That they do is checked after each epoch.
    """

    def __init__(
        self, model: nn.Module, method: Method, data: TrainingData[Any], training: Training, classes: int
    ) -> None:
        self.model: nn.Module = model.to(memory_format=data.train.layout)  # type: ignore[call-overload]
        self.method, self.data, self.ranks = method, data, data.train.ranks
        self.training = training
        self.careful = False
        self.replays: Replays | None = None
        """Of iterations, where a GPU can record them."""
        if data.train.labels.is_cuda and method.replayable and self.ranks.size == 1:
            self.replays = Replays(cuda_recorder())
        self.throttle = Throttle.of(data.train.labels.device)
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        rates = [training.backbone_rate if name.startswith("backbone.") else 1.0 for name in trained]
        own = method.parameters()
        self.optimiser = SGD(
            [*trained.values(), *own],
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=training.nesterov,
            rates=[*rates, *[1.0] * len(own)],
        )
        self.iteration = 0
        self.seconds = 0.0
        self.sums: dict[str, Tensor] = {}
        """Scalars of each step since the epoch began."""
        self.history = History()
        self.selected: dict[str, Tensor] = {}
        self.selected_iteration = -1
        self.best = -1.0
        self._add_row(torch.zeros(classes, dtype=torch.float64), {})

    @property
    def between_epochs(self) -> bool:
        """Whether an epoch has just ended, or none has begun."""
        return self.iteration == self.training.iterations or self.iteration % self.data.batches_per_epoch == 0

    def run(self, after_epoch: Callable[[Trainer], None] = lambda trainer: None) -> None:
        """Train to the end. Raises DivergedError if numbers are not finite."""
        for _ in self.iterations():
            if self.between_epochs:
                after_epoch(self)

    def iterations(self) -> Iterator[None]:
        """Train to the end, yielding after each iteration, when `state` is complete.

        The last iteration of an epoch yields after the measurements. Raises DivergedError if numbers are
        not finite, and MachineError if the ranks have come apart.
        """
        while self.iteration < self.training.iterations:
            yield from self._epoch()

    def _epoch(self) -> Iterator[None]:
        start = time.monotonic()
        per_epoch = self.data.batches_per_epoch
        first = self.iteration // per_epoch * per_epoch
        last = min(first + per_epoch, self.training.iterations)
        if self.iteration == first:  # otherwise an interrupted epoch resumes
            self.method.start_epoch(self.model, self.data.train, self.data.meta)
        self.model.train()
        while self.iteration < last:
            before = time.monotonic()
            scalars = self._step()
            for name, value in scalars.items():
                self.sums[name] = self.sums[name] + value if name in self.sums else value
            if self.careful:
                self._check_step(scalars)
            if self.throttle is not None:
                self.throttle()
            self.data.throughput.looping += time.monotonic() - before
            if self.iteration < last:
                self.seconds += time.monotonic() - start
                yield
                start = time.monotonic()
        waiting = time.monotonic()
        means = {name: float(value) / (last - first) for name, value in self.sums.items()}
        self.data.throughput.looping += time.monotonic() - waiting  # by now a GPU has finished
        self.method.end_epoch(self.model, self.data.meta)
        logits = predict(self.model, self.data.meta)
        # after the last step only the logits show it, and argmax takes NaN for class 0
        self._refuse({**means, "largest logit": float(logits.abs().max())})
        if last == self.training.iterations:
            self.check_finite()
        self.sums = {}
        accuracy = class_accuracy(logits, self.data.meta.labels)
        self.method.refresh(accuracy)
        if self.replays is not None:
            self.replays.refreshed()
        if not self.ranks.same(self._changing().values()):
            raise MachineError(
                f"the ranks do not have the same weights at iteration {self.iteration}; train in one process"
            )
        self.seconds += time.monotonic() - start
        self._add_row(accuracy, means)
        if float(accuracy.mean()) > self.best:
            self.best, self.selected_iteration = float(accuracy.mean()), self.iteration
            self.selected = copied(self.model)
        yield

    def check_finite(self) -> None:
        """Raise DivergedError unless all state for the next iteration is finite.

        A non-finite gradient spoils momentum and weights for good, so it is found later too. This check is
        slow, and meant for when a state is saved; after an epoch, losses and logits are enough.
        """
        carried = {"model": self.model.state_dict(), "optimiser": self.optimiser.state()}
        self._refuse(not_finite(tensors_of({**carried, "method": self.method.state(), "sums": self.sums})))

    def _check_step(self, scalars: Mapping[str, Tensor]) -> None:
        named = [*self.model.named_parameters()]
        named += [(f"method's parameter {i}", value) for i, value in enumerate(self.method.parameters())]
        gradients = {f"gradient of {name}": value.grad for name, value in named if value.grad is not None}
        self._refuse(not_finite({**scalars, **gradients}))
        self.check_finite()

    def _refuse(self, terms: Mapping[str, float]) -> None:
        bad = [f"{name} {value:g}" for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            where = f"{'at' if self.careful else 'by'} iteration {self.iteration}"
            rate = f"at learning rate {self._rate(self.iteration - 1):g}"
            raise DivergedError(f"not finite {where} {rate}: {and_more(bad, 3)}", self.iteration)

    def _rate(self, iteration: int) -> float:
        return learning_rate(self.training, max(iteration, 0), self.data.batches_per_epoch)

    def _step(self) -> dict[str, Tensor]:
        rate: float | Tensor = self._rate(self.iteration)
        if self.replays is not None:  # even without replay: same arithmetic, same bytes
            rate = torch.full((), rate, device=self.data.train.labels.device)
        batch = self.data.train_batch(self.iteration)
        meta = self.data.meta_batch(self.iteration) if self.method.uses_meta_batch else None
        info = StepInfo(self.iteration, self.training.iterations, rate, self.optimiser)
        # a careful training reads gradients, which a replay does not leave in `.grad`
        if self.replays is None or self.careful:
            scalars = self._iterate(batch, meta, info)
        else:
            scalars = self.replays(self._iterate, self._changing, batch, meta, info)
        self.iteration += 1
        return scalars

    def _changing(self) -> dict[str, Tensor]:
        """All tensors that an iteration changes."""
        parts = {"model": self.model.state_dict(), "optimiser": self.optimiser.state()}
        return tensors_of({**parts, "method": self.method.state()})

    def _iterate(self, batch: Batch, meta: Batch | None, info: StepInfo) -> dict[str, Tensor]:
        """One training step."""
        self.optimiser.zero_grad()
        scalars = self.method.backward(self.model, batch, meta, info)
        if self.ranks.size > 1:
            self._share()
        self.optimiser.step(info.learning_rate)
        return scalars

    @torch.no_grad()
    def _share(self) -> None:
        """Sum the gradients over the ranks, and take the mean of BatchNorm's running statistics."""
        moved = [parameter for parameter in self.optimiser.parameters if parameter.grad is not None]
        statistics = moving_statistics(self.model)
        gradients: list[Tensor] = [parameter.grad for parameter in moved]  # type: ignore[misc]
        summed = self.ranks.summed([*gradients, *statistics])
        for parameter, gradient in zip(moved, summed, strict=False):
            parameter.grad = gradient
        for own, total in zip(statistics, summed[len(moved) :], strict=True):
            own.copy_(total / self.ranks.size)

    def _add_row(self, accuracy: Tensor, means: dict[str, float]) -> None:
        difficulty, weights = self.method.difficulty(), self.method.weights()
        entropy = float("nan") if difficulty is None else float(difficulty_entropy(difficulty.double()))
        if math.isinf(entropy):  # CDB-CE: a class without an error has difficulty 0
            entropy = float("nan")
        self.history.add(
            epoch=len(self.history.rows),
            iteration=self.iteration,
            lr=self._rate(self.iteration - 1),
            entropy=entropy,
            meta_accuracy=float(accuracy.mean()),
            accuracy=accuracy.tolist(),
            difficulty=None if difficulty is None else difficulty.tolist(),
            weight=None if weights is None else weights.tolist(),
            **means,
        )

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs; all draws follow from (seed, iteration)."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state(),
            "method": self.method.state(),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "sums": self.sums,
            "history": self.history.rows,
            "selected": self.selected,
            "selected_iteration": self.selected_iteration,
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state(state["optimiser"])
        self.method.load_state(state["method"])
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        self.sums = dict(state["sums"])
        self.history = History(list(state["history"]))
        self.selected, self.selected_iteration = state["selected"], state["selected_iteration"]
        self.best = state["best"]
