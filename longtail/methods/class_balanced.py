"""Class-Balanced loss (Cui et al., CVPR 2019): weights from the effective number of images.

    w_c = (1 - beta) / (1 - beta^{n_c}), rescaled to sum C,   l_i = w_{y_i} L(z_i, y_i)

Yin Cui et al., "Class-Balanced Loss Based on Effective Number of Samples". L is softmax cross-entropy,
sigmoid cross-entropy, or the focal loss in its sigmoid form (`longtail.methods.focal`); the last two
start from biases -log(C - 1), as in their code, which also exempts these biases from weight decay (here
they decay). The release of Difficulty-Net feeds ratios of frequencies in place of n_c, which with its
beta = 0.9 comes close to inverse frequency; here n_c are counts, as published. Settings and defaults:
`longtail/config/presets/class_balanced.py`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.class_balanced import Settings
from longtail.methods.focal import sigmoid_focal_losses, with_prior_biases
from longtail.training.method import Method, StepInfo, Task


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """w_c, float64 [C] of mean 1, from training counts [C] of at least 1 and beta in [0, 1).

    The inverse of Cui et al.'s effective number (1 - beta^n) / (1 - beta), rescaled; all 1 for beta = 0.
    """
    n = counts.to(torch.float64)
    if beta == 0:
        return torch.ones_like(n)
    # 1 - beta^n without cancellation for beta close to 1
    weights = 1 / -torch.expm1(n * math.log(beta))
    return weights * (n.numel() / weights.sum())


class ClassBalanced(Method):
    """A loss weighted by the inverse of the effective number."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.class_weights = effective_number_weights(task.counts, self.settings.beta).to(task.device)

    def adapt(self, network: nn.Module) -> nn.Module:
        """`network`, with other initial biases for sigmoid losses."""
        return network if self.settings.loss == "softmax" else with_prior_biases(network)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        if self.settings.loss == "softmax":
            losses = F.cross_entropy(logits, labels, reduction="none")
        else:
            gamma = self.settings.gamma if self.settings.loss == "focal" else 0.0
            losses = sigmoid_focal_losses(logits, labels, gamma)
        return self.class_weights.to(logits.dtype)[labels] * losses

    def weights(self) -> Tensor:
        """w_c, [C]."""
        return self.class_weights


METHOD = ClassBalanced
