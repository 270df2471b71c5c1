"""What the tests of retrained heads have in common: a network trained for a moment, and heads on it."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longtail.config.presets import METHODS
from longtail.config.training import Steps
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.networks.heads import WithHead
from longtail.training.batches import TrainingData
from longtail.training.method import StepInfo, Task
from longtail.training.trainer import Trainer, class_accuracy, predict
from tests.support.small_training import CLASSES, COUNTS, TRAINING, default_dtype, make_images, make_trainer

RATE = 0.1
"""Of the first 30 iterations; a tenth afterwards."""
NOISE = 0.3
"""Little enough to learn a class from one image, with the right loss."""

CHANGES = {"schedule": Steps(start=RATE, peak=RATE, warmup=0, milestones=(30,)), "iterations": 40}
"""Of `TRAINING`, for stage 1 and heads alike."""


@cache
def stage_1() -> dict[str, Tensor]:
    """Weights after a short training with cross-entropy; not to be changed."""
    trainer = make_trainer("cross_entropy", noise=NOISE, **CHANGES)
    trainer.run()
    return trainer.model.state_dict()


def make_head_trainer(
    method: str,
    settings: dict[str, Any] | None = None,
    *,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> Trainer:
    """A head on the features of `stage_1`, before its first iteration, with 20 meta images a class.

    The training is `TRAINING`, class-aware, with `CHANGES`, what the preset changes, then `changes`.
    """
    preset = METHODS[method]
    update = {"sampler": "class_aware", **CHANGES, **preset.training, **changes}
    training = TRAINING.model_copy(update=update)
    settings = preset.settings.model_validate(settings or {}).model_dump(by_alias=True)
    features = stage_1()
    with default_dtype(dtype):
        task = Task(counts=torch.tensor(COUNTS), seed=seed, imbalance=24)
        chosen = build_method(method, settings, task)
        network = build_network("digits_resnet", CLASSES, seed)
        network.load_state_dict(features)
        head = chosen.head(network.classifier)  # type: ignore[arg-type]
        model = WithHead(network, head, settings.get("batch_norm", "frozen"))
    train, meta = make_images(COUNTS, 2, dtype, NOISE), make_images((20,) * CLASSES, 3, dtype, NOISE)
    return Trainer(model, chosen, TrainingData(train, meta, training, chosen, seed), training, CLASSES)


def model_of(trainer: Trainer) -> WithHead:
    """The trainer's model as what it is."""
    assert isinstance(trainer.model, WithHead)
    return trainer.model


def retrain(
    method: str, settings: dict[str, Any] | None = None, **changes: Any
) -> tuple[dict[str, Tensor], WithHead, Trainer]:
    """All tensors before a retraining; the model and its trainer afterwards."""
    trainer = make_head_trainer(method, settings, **changes)
    model = model_of(trainer)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    trainer.run()
    return before, model, trainer


def changed(before: dict[str, Tensor], model: WithHead) -> set[str]:
    """Names of the tensors that retraining changed."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def frozen_features(model: WithHead, images: Tensor) -> Tensor:
    """Features [B, F], with the network in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model.network.features(images)  # type: ignore[operator]


def reference_logits(model: WithHead, images: Tensor) -> Tensor:
    """(W h + b) * s."""
    features = frozen_features(model, images)
    head = dict(model.head.named_parameters())
    return (features @ head["weight"].T + head["bias"]) * head["scale"]


Formula = Callable[
    [NDArray[np.float64], dict[str, NDArray[np.float64]], dict[str, float]], NDArray[np.float64]
]
"""Logits [N, C] from features [N, F], the head's tensors and the free numbers."""


def check_choice(method: str, formula: Formula) -> None:
    """The choice of a post-hoc head, in float64 against `formula`, evaluated one combination at a time."""
    trainer = make_head_trainer(method, dtype=torch.float64)
    model, meta = model_of(trainer), trainer.data.meta
    features, labels = frozen_features(model, meta.pixels).numpy(), meta.labels.numpy()
    trainer.run()
    found = trainer.method.choice()
    assert found is not None
    head = {name: value.numpy() for name, value in model.head.state_dict().items()}
    combinations = [dict(zip(found.grid, values, strict=True)) for values in product(*found.grid.values())]
    right = [int((formula(features, head, own).argmax(1) == labels).sum()) for own in combinations]
    assert found.meta_accuracy == [count / len(labels) for count in right]
    best = max(right)
    assert right[0] < best
    assert found.chosen == combinations[right.index(best)]  # the first of equally good ones
    assert {name: float(head[name]) for name in found.chosen} == found.chosen
    assert trainer.history.rows[-1]["meta_accuracy"] == pytest.approx(best / len(labels), rel=1e-12)
    np.testing.assert_allclose(
        predict(model, meta.pixels).numpy(), formula(features, head, found.chosen), rtol=1e-10, atol=1e-10
    )


def check_nothing_is_trained(method: str, measured: set[str]) -> None:
    """A post-hoc head changes its numbers and the buffers `measured` alone; its file has what it chose."""
    before, model, trainer = retrain(method)
    chosen = trainer.method.choice()
    assert chosen is not None
    moved = {name for name, value in chosen.chosen.items() if value}  # from 0
    assert changed(before, model) == {f"head.{name}" for name in moved | measured}
    assert trainer.iteration == 1
    assert all(value.grad is None for value in model.parameters())
    other = model_of(make_head_trainer(method))
    images = trainer.data.meta.pixels
    assert not torch.equal(predict(other, images), predict(model, images))
    other.head.load_state_dict(model.head.state_dict())
    assert torch.equal(predict(other, images), predict(model, images))


def losses_before_and_after(trainer: Trainer) -> tuple[float, float]:
    """The method's loss on all training images, before and after the training, which this runs."""
    data = trainer.data

    def loss() -> float:
        info = StepInfo(trainer.iteration, trainer.training.iterations, RATE)
        return float(
            trainer.method.batch_loss(predict(trainer.model, data.train.pixels), data.train.labels, info)
        )

    before = loss()
    trainer.run()
    return before, loss()


def smallest_class_accuracy(model: nn.Module, data: TrainingData) -> float:
    """On meta images of the class with one training image; chance is 1/4."""
    return float(class_accuracy(predict(model, data.meta.pixels), data.meta.labels)[-1])


def assert_it_learns_the_class_of_one_image(trainer: Trainer) -> None:
    """Of a trained head on features whose own classifier does worse than chance there."""
    before = smallest_class_accuracy(model_of(trainer).network, trainer.data)
    after = smallest_class_accuracy(trainer.model, trainer.data)
    assert before < 1 / CLASSES < after
    assert after > before + 0.3
