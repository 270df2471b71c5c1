"""What can be wrong in a training loop of one's own, said before the first step that would go wrong."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from longtail.networks.heads import WithHead
from longtail.training.method import Batch, Method, StepInfo

HOOKS = {
    "adapt": "write `model = method.adapt(model)` before the optimiser is made",
    "head": "train `WithHead(network, method.head(network.classifier))` of `longtail.networks.heads`",
    "parameters": "give the optimiser method.parameters(), too",
    "start_epoch": "call `method.start_epoch(model, train, meta)` before each epoch",
    "sampler": "draw the batches with `EpochBatches(method.sampler('shuffled', labels, batch_size))`",
}
"""Hooks without which a method that overrides them is another method, and what to do."""

OPTIONAL: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("class_balanced", "adapt"): lambda settings: settings.loss == "softmax",
    ("focal", "adapt"): lambda settings: settings.form == "softmax",
    ("balms", "sampler"): lambda settings: not settings.meta_sampler,
    ("cb_da", "start_epoch"): lambda settings: True,  # then every step decides for itself
    ("difficulty_net", "start_epoch"): lambda settings: settings.first_accuracies != "measured",
    # nothing is left to choose on the meta set
    ("tau_norm", "start_epoch"): lambda settings: settings.tau is not None,
    ("logit_adjustment", "start_epoch"): lambda settings: settings.tau is not None,
    ("tau_norm_adjustment", "start_epoch"): lambda settings: None not in (settings.tau, settings.adjustment),
}
"""Settings with which a method overrides a hook, and does without it."""

PARTS = {"dro_lt": ("features", "classifier"), "paco": ("features", "classifier")}
"""Parts of a model that a method uses by themselves."""


def checked(name: str, method: Method) -> Method:
    """`method`, the one of that name, with the checks of `Checks` before its own work."""
    kind = type(method)
    overridden = [hook for hook in HOOKS if getattr(kind, hook) is not getattr(Method, hook)]
    settings = getattr(method, "settings", None)
    missing = {hook for hook in overridden if not OPTIONAL.get((name, hook), lambda _: False)(settings)}
    method.__class__ = type(kind.__name__, (Checks, kind), {"__module__": kind.__module__})
    method.__dict__.update(_name=name, _missing=missing, _fitting=None)
    return method


class Checks(Method):
    """Comes before a method's class. Raises ValueError where a step would fail late, or be silently wrong."""

    _name: str
    _missing: set[str]
    """Needed hooks that were not called yet."""
    _fitting: nn.Module | None
    """The model whose outputs are known to fit."""

    def adapt(self, network: nn.Module) -> nn.Module:
        """See `Method`."""
        self._missing.discard("adapt")
        return super().adapt(network)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """See `Method`."""
        self._missing.discard("head")
        return super().head(classifier)

    def parameters(self) -> list[Tensor]:
        """See `Method`."""
        self._check_hooks("adapt")
        self._missing.discard("parameters")
        return super().parameters()

    def start_epoch(self, model: nn.Module, train: Any, meta: Any) -> None:
        """See `Method`."""
        self._check_hooks("adapt", "head")
        self._missing.discard("start_epoch")
        super().start_epoch(model, train, meta)

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Any:
        """See `Method`."""
        self._missing.discard("sampler")
        return super().sampler(name, labels, batch_size)

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Method`; the state has what `start_epoch` measured."""
        self._missing.discard("start_epoch")
        super().load_state(state)

    def batch_loss(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """See `Method`."""
        self._check_hooks()
        self._check_outputs(logits)
        self._check_labels("labels", labels, len(logits))
        return super().batch_loss(logits, labels, info)

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """See `Method`."""
        self._check_hooks()
        self._check_model(model, info)
        for place, one in (("", batch), ("meta ", meta)):
            if one is not None:
                self._check_labels(f"{place}labels", one.labels, len(one.images))
                self._check_images(f"{place}images", one.images)
        if self.uses_meta_batch and meta is None:
            raise ValueError(f"{self._name}: no meta batch; give `Batch(images, labels)` of the meta set")
        if self.uses_second_view and batch.second_view is None:
            raise ValueError(f"{self._name}: no second view; give `Batch(images, labels, second_view)`")
        if self._fitting is not model:
            self._check_outputs(_outputs(model, batch.images[:2]))
            self._fitting = model
        return super().backward(model, batch, meta, info)

    def _check_hooks(self, *hooks: str) -> None:
        for hook in hooks or HOOKS:
            if hook in self._missing:
                raise ValueError(f"{self._name}: method.{hook} was not called; {HOOKS[hook]}")

    def _check_model(self, model: nn.Module, info: StepInfo) -> None:
        if any(parameter.dtype == torch.float64 for parameter in model.parameters()):
            raise ValueError(
                f"{self._name}: the model is in float64; methods compute in float32: model.float()"
            )
        lacking = [part for part in PARTS.get(self._name, ()) if not hasattr(model, part)]
        if lacking:
            raise ValueError(
                f"{self._name}: the model has no `{lacking[0]}`; it uses model.features(images), and "
                "model.classifier on them"
            )
        headed = self._name == "tau_norm" or (self._name == "balms" and self.uses_meta_batch)
        if headed and not isinstance(model, WithHead):
            raise ValueError(f"{self._name}: the model is a {type(model).__name__}; {HOOKS['head']}")
        if headed and self._name == "balms" and info.optimiser is None:
            raise ValueError(f"{self._name}: no optimiser; give `StepInfo(..., optimiser=...)`, one of ours")

    def _check_labels(self, place: str, labels: Tensor, images: int) -> None:
        if labels.dtype != torch.int64:
            kind = str(labels.dtype).removeprefix("torch.")
            raise ValueError(f"{self._name}: {place} are {kind}, not int64: labels.long()")
        if labels.shape != (images,):
            raise ValueError(
                f"{self._name}: {place} have the shape {list(labels.shape)}; expected one for each of "
                f"{images} images"
            )
        if labels.device.type == "cpu" and images:  # elsewhere it would wait for the device at every step
            low, high = labels.aminmax()
            if low < 0 or high >= self.task.classes:
                raise ValueError(
                    f"{self._name}: {place} go from {low} to {high}, but counts has {self.task.classes} "
                    "classes"
                )

    def _check_images(self, place: str, images: Tensor) -> None:
        if images.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            kind = str(images.dtype).removeprefix("torch.")
            raise ValueError(f"{self._name}: {place} are {kind}, not float32: images.float(), then normalise")

    def _check_outputs(self, logits: Any) -> None:
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"{self._name}: the model's output is {found}, not logits [images, classes]")
        if logits.dtype == torch.float64:
            raise ValueError(
                f"{self._name}: the logits are float64; methods compute in float32: model.float()"
            )
        if logits.shape[1] != self.task.classes:
            raise ValueError(
                f"{self._name}: the model has {logits.shape[1]} outputs, but counts has {self.task.classes} "
                "classes"
            )


@torch.no_grad()
def _outputs(model: nn.Module, images: Tensor) -> Any:
    """What `model` gives for a few images in evaluation mode, so that nothing in it changes."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        with torch.random.fork_rng(devices=[]):
            return model(images)
    finally:
        for module in training:
            module.training = True
