"""For your own training loop: methods by name, samplers for a DataLoader, accuracy by shot group."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.config.benchmarks import ShotConvention, ShotThresholds
from longtail.config.presets import METHODS
from longtail.config.presets.preset import did_you_mean
from longtail.errors import InputError
from longtail.methods import build_method
from longtail.own_checks import checked
from longtail.reporting.accuracy import group_accuracy, shot_groups
from longtail.training.method import Method, Task
from longtail.training.samplers import Sampler


def make_method(
    name: str,
    counts: Sequence[int] | Tensor,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    lambda_: float | None = None,
    **settings: Any,
) -> Method:
    """Build the method `name`. It checks models and batches before each step; see `longtail.own_checks`.

    Args:
        name: one of `longtail.METHODS`; its settings are in `longtail/config/presets/<name>.py`.
        counts: training images per class, [C], in label order; each at least 1.
        seed: for the method's own draws and networks.
        device: where the batches will be.
        lambda_: weight of the driver loss, for methods that have one; None: the paper's.
        settings: the method's settings; those left out are the paper's for CIFAR-100-LT.

    Raises InputError if a name, count or value is invalid.
    """
    if name not in METHODS:
        raise InputError(f"method '{name}'", "not known", did_you_mean(name, list(METHODS)))
    preset = METHODS[name]
    preset.check(settings, where=name)
    if lambda_ is not None:
        if not preset.uses_lambda:
            raise InputError(name, f"lambda_ {lambda_:g}: the method has no driver loss", "leave it out")
        settings = {**settings, "lambda": lambda_}
    images = torch.as_tensor(counts, dtype=torch.int64)
    if images.ndim != 1 or images.numel() == 0 or int(images.min()) < 1:
        raise InputError(f"counts {list(counts)[:10]}", "expected images of each class, each 1 or more")
    chosen = preset.settings.model_validate(settings).model_dump(by_alias=True)
    task = Task(images, seed, float(images.max() / images.min()), torch.device(device))
    return checked(name, build_method(name, chosen, task))


class EpochBatches:
    """Makes a sampler a `batch_sampler` for `torch.utils.data.DataLoader`; each pass is the next epoch."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.epoch = sampler, 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.sampler.batches_per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the next epoch."""
        first = self.epoch * len(self)
        self.epoch += 1
        for iteration in range(first, first + len(self)):
            yield self.sampler.batch(iteration).tolist()


def shot_group_accuracy(
    logits: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    counts: Sequence[int] | Tensor,
    many_above: float = 100,
    few_below: float = 20,
    convention: ShotConvention = "kang",
) -> dict[str, float | None]:
    """Accuracy in percent over all classes and the many-, medium- and few-shot ones, by `counts` [C].

    `logits` [N, C], `labels` [N]; None for a group without images. The defaults are those of Kang et al.,
    ICLR 2020; see `longtail.reporting.accuracy.shot_groups`. Raises ValueError if a logit is not finite.
    """
    thresholds = ShotThresholds(many_above=many_above, few_below=few_below)
    groups = shot_groups([int(count) for count in counts], thresholds, convention)
    arrays = [torch.as_tensor(values).detach().cpu().numpy() for values in (logits, labels)]
    return group_accuracy(arrays[0], arrays[1], groups)
