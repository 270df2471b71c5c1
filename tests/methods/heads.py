"""What the tests of retrained heads have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longtail.heads import WithHead
from longtail.trainer import Trainer
from tests.small_training import make_trainer


def retrain(
    method: str, settings: dict[str, Any] | None = None
) -> tuple[dict[str, Tensor], WithHead, Trainer]:
    """All tensors before a retraining; the model and its trainer afterwards."""
    trainer = make_trainer(method, settings)
    assert isinstance(trainer.model, WithHead)
    # BatchNorm statistics of a trained network, which retraining must not touch
    for name, buffer in trainer.model.network.named_buffers():
        if "running" in name:
            buffer += torch.rand(buffer.shape, generator=torch.Generator().manual_seed(6))
    before = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    return before, trainer.model, trainer


def changed(before: dict[str, Tensor], model: WithHead) -> set[str]:
    """Names of the tensors that retraining changed."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def reference_logits(model: WithHead, images: Tensor) -> Tensor:
    """(W h + b) * s, with the network in evaluation mode."""
    model.eval()
    with torch.no_grad():
        features = model.network.features(images)  # type: ignore[operator]
    head = dict(model.head.named_parameters())
    return (features @ head["weight"].T + head["bias"]) * head["scale"]
