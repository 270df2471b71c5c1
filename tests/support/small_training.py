"""Trainings of a second on made-up images: four classes, the smallest with one image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longtail.config.presets import METHODS
from longtail.config.training import Steps, Training
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.networks.heads import WithHead
from longtail.training.batches import Images, TrainingData
from longtail.training.method import Task
from longtail.training.precision import with_precision
from longtail.training.ranks import ALONE, Ranks
from longtail.training.trainer import Trainer

CLASSES = 4
COUNTS = (24, 11, 5, 1)
META_COUNTS = (5,) * CLASSES

TRAINING = Training(
    iterations=12,
    batch_size=16,
    meta_batch_size=6,
    sampler="shuffled",
    augment="shift",
    second_augment="shift",
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
    schedule=Steps(start=0.1, peak=0.2, warmup=5, milestones=(8, 10)),
)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Modules made in the block have parameters of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def labels_of(counts: tuple[int, ...]) -> Tensor:
    """counts[c] times c."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def make_images(
    counts: tuple[int, ...], seed: int, dtype: torch.dtype, noise: float, ranks: Ranks = ALONE
) -> Images:
    """A pattern for each class, under noise; [N, 1, 8, 8]."""
    patterns = torch.randn(len(counts), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = labels_of(counts)
    pixels = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Images((patterns[labels] + noise * pixels).to(dtype), labels, ranks=ranks)


def make_trainer(
    method: str,
    settings: dict[str, Any] | None = None,
    *,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
    noise: float = 1.0,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
    **changes: Any,
) -> Trainer:
    """A trainer before its first iteration; `changes` are those of `TRAINING`."""
    preset = METHODS[method]
    usual = {"sampler": "class_aware"} if preset.stage == "retrain" else {}
    training = TRAINING.model_copy(update={**usual, **preset.training, **changes})
    settings = preset.settings.model_validate(settings or {}).model_dump(by_alias=True)
    with default_dtype(dtype):
        task = Task(torch.tensor(COUNTS), seed, 24, device or torch.device("cpu"))
        chosen = build_method(method, settings, task)
        network = build_network("digits_resnet", CLASSES, seed)
        if preset.stage == "retrain":
            network = WithHead(network, chosen.head(network.classifier))  # type: ignore[arg-type]
            network = with_precision(network, training.precision)
        else:
            network = chosen.adapt(with_precision(network, training.precision))
    train, meta = (
        make_images(counts, own, dtype, noise, ranks) for counts, own in ((COUNTS, 2), (META_COUNTS, 3))
    )
    data = TrainingData(train, meta, training, chosen, seed)
    if device is not None:
        network = network.to(device)
        data.train, data.meta = (Images(own.raw.to(device), own.labels.to(device)) for own in (train, meta))
        data.meta_source = data.train if chosen.meta_batches == "training" else data.meta
    return Trainer(network, chosen, data, training, CLASSES)
