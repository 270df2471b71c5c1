"""Resampling: batches in which small classes come more often than in the data, and plain cross-entropy.

    P(c) = n_c^q / sum_k n_k^q,   an image of the drawn class uniformly, both with replacement
    q = 0: class-balanced sampling,   q = 1/2: square-root sampling

Bingyi Kang, Saining Xie, Marcus Rohrbach, Zhicheng Yan, Albert Gordo, Jiashi Feng and Yannis Kalantidis,
"Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, Eq. 1. (q = 1 would be
instance sampling: each image equally likely.) An epoch is as long as one pass over the data, and all its
batches are full.

The class-balanced sampling of their release goes through shuffled lists of classes and of the images of each;
`longtail.training.samplers.ClassAwareSampler` does so. Here every draw is independent, as Eq. 1 says.
Schedule and optimiser are the benchmark's. Settings: `longtail/config/presets/resampling.py`.
"""

from typing import Any

import torch
from torch import Tensor

from longtail.config.presets.resampling import Settings
from longtail.randomness import generator
from longtail.training.method import Method, Task
from longtail.training.samplers import Sampler

EXPONENTS = {"class_balanced": 0.0, "square_root": 0.5}
"""q of Eq. 1."""


class PowerSampler:
    """Independent draws: a class in proportion to n_c^q, then one of its images uniformly."""

    def __init__(self, labels: Tensor, batch_size: int, seed: int, exponent: float) -> None:
        """`labels` [N] of the images; a class without images is never drawn."""
        self.batch_size, self.seed = batch_size, seed
        self.batches_per_epoch = -(-labels.numel() // batch_size)
        self.by_class = torch.argsort(labels, stable=True)
        counts = torch.unique(labels, return_counts=True)[1]
        self.counts = counts.to(torch.float64)
        self.first = counts.cumsum(0) - counts
        shares = (self.counts**exponent).cumsum(0)
        self.thresholds = shares / shares[-1]

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration`."""
        draws = generator(self.seed, "resampling", iteration)
        which, where = torch.rand(2, self.batch_size, dtype=torch.float64, generator=draws)
        chosen = torch.searchsorted(self.thresholds, which, right=True)
        return self.by_class[self.first[chosen] + (where * self.counts[chosen]).long()]


class Resampling(Method):
    """Cross-entropy on resampled batches."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Sampler:
        """The setting's sampler over images with these labels [N], whatever the schedule names."""
        return PowerSampler(labels, batch_size, self.task.seed, EXPONENTS[self.settings.sampling])


METHOD = Resampling
