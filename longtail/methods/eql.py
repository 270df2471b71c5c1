"""Equalization loss, softmax form (Tan et al., CVPR 2020): rare classes are not pushed down by others.

    l_i = -log( e^{z_y} / sum_k w_k e^{z_k} ),   w_k = 1 - b 1[n_k/N < threshold] (k != y)
    b ~ Bernoulli(gamma)

Jingru Tan et al., "Equalization Loss for Long-Tailed Object Recognition". A rare class takes no part in the
denominator of another class's image, with probability gamma. The publication does not settle whether b is
drawn for every element, image or batch: the setting `draw` decides. Its repository has only the detection
form; the release of Difficulty-Net has a sum of sigmoid losses with one draw per batch. Settings and
defaults: `longtail/config/presets/eql.py`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.config.presets.eql import Settings
from longtail.randomness import generator
from longtail.training.method import Method, StepInfo, Task
from longtail.training.transfers import to_device


def equalization_losses(logits: Tensor, labels: Tensor, spared: Tensor) -> Tensor:
    """Losses [B] of logits [B, C], labels [B] and bool `spared` [B, C]: what leaves the denominators.

    An image's own class always stays in its denominator.
    """
    left_out = spared & ~F.one_hot(labels, logits.shape[1]).bool()
    return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), labels, reduction="none")


class EQL(Method):
    """Cross-entropy whose denominator lacks rare classes."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        share = task.counts.to(torch.float64) / task.counts.sum()
        self.rare = (share < self.settings.threshold).to(task.device)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]; the draws are those of `info.iteration`."""
        batch, classes = logits.shape
        shape = {"element": (batch, classes), "image": (batch, 1), "batch": (1, 1)}[self.settings.draw]
        draws = generator(self.task.seed, "equalization", info.iteration)
        hit = torch.rand(shape, generator=draws, dtype=torch.float64) < self.settings.gamma
        return equalization_losses(logits, labels, to_device(hit, logits.device) & self.rare)


METHOD = EQL
