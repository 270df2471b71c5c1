"""Label-aware smoothing, LAS (Zhong et al., "MiSLAS", CVPR 2021): smoothing that grows with the class.

    l_i = (1 - eps_y) (-log p_y) + eps_y (1/C) sum_k (-log p_k)
    eps_c = eps_tail + (eps_head - eps_tail) sin(pi (n_c - n_min) / (2 (n_max - n_min)))

This is the released code; the printed formula spreads eps over the other C-1 classes. Classifier and
scales are trained on frozen features with class-aware sampling. (eps_head, eps_tail) by imbalance as in
the code of the authors of Difficulty-Net (`smoothing_ends`).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.las import Settings
from longtail.networks.heads import ScaledClassifier
from longtail.training.method import Method, StepInfo, Task


def smoothing_ends(imbalance: float) -> tuple[float, float]:
    """(eps_head, eps_tail) that the authors of Difficulty-Net use on CIFAR-100-LT."""
    for above, ends in ((100, (0.4, 0.0)), (50, (0.4, 0.1)), (20, (0.3, 0.0))):
        if imbalance > above:
            return ends
    return (0.2, 0.0)


def smoothing(counts: Tensor, head: float, tail: float) -> Tensor:
    """eps_c, float64 [C], from training counts [C]; `head` everywhere where all counts are equal."""
    n = counts.to(torch.float64)
    spread = float(n.max() - n.min())
    position = (n - n.min()) / spread if spread else torch.ones_like(n)
    return tail + (head - tail) * torch.sin(position * math.pi / 2)


def smoothed_losses(logits: Tensor, labels: Tensor, epsilon: Tensor) -> Tensor:
    """Losses [B] of logits [B, C], labels [B] and smoothing eps_c [C]."""
    log_p = F.log_softmax(logits, dim=1)
    own = F.nll_loss(log_p, labels, reduction="none")
    eps = epsilon[labels]
    return (1 - eps) * own - eps * log_p.mean(dim=1)


class LAS(Method):
    """Label-aware smoothing of classifier and scales."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        chosen = Settings.model_validate(settings)
        head, tail = smoothing_ends(task.imbalance)
        head = head if chosen.smoothing_head is None else chosen.smoothing_head
        tail = tail if chosen.smoothing_tail is None else chosen.smoothing_tail
        self.epsilon = smoothing(task.counts, head, tail).to(task.device)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's classifier and the scales, both trained."""
        return ScaledClassifier(classifier, train_classifier=True, train_scale=True)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C]."""
        return smoothed_losses(logits, labels, self.epsilon.to(logits.dtype))


METHOD = LAS
