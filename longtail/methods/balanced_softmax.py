"""Balanced Softmax (Ren et al., NeurIPS 2020): cross-entropy on z_c + log n_c in training, z at test.

No settings. The released code of Difficulty-Net exponentiates without subtracting the maximum and can
overflow; adding log n_c to the logits is the same function and cannot.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.training.method import Method, StepInfo, Task


def balanced_softmax_losses(logits: Tensor, labels: Tensor, log_counts: Tensor) -> Tensor:
    """Losses [B] of logits [B, C], labels [B] and log n_c [C] (Ren et al., Eq. 3)."""
    return F.cross_entropy(logits + log_counts, labels, reduction="none")


def log_counts(task: Task) -> Tensor:
    """log n_c as float64 [C] on the task's device."""
    return torch.log(task.counts.to(task.device, torch.float64))


class BalancedSoftmax(Method):
    """Cross-entropy with the training prior in the logits."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.log_counts = log_counts(task)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C]."""
        return balanced_softmax_losses(logits, labels, self.log_counts.to(logits.dtype))


METHOD = BalancedSoftmax
