"""LADE: Balanced Softmax with a regulariser that ties each logit to a density ratio.

    L = (1/B) sum_i l_i + alpha R,   l_i: Balanced Softmax (`longtail.methods.balanced_softmax`)
    R = -sum_c pi_c (m_c - L_c - kappa L_c^2)
    m_c = mean of z_ic over the batch's images i of class c
    L_c = log (1/B) sum_i exp(z_ic - log pi_c + log(1/C)),   pi_c = n_c / N

Youngkyu Hong, Seungju Han, Kwanghee Choi, Seokjun Seo, Beomsu Kim and Buru Chang, "Disentangling Label
Distribution for Long-tailed Visual Recognition", CVPR 2021. m_c - L_c - kappa L_c^2 is a regularised
Donsker-Varadhan bound, largest where z_c is the log of p(x | c) over a balanced p(x). Defaults are those of
the release for CIFAR-100-LT at imbalance 100. As there, a class that the batch lacks has m_c = 0 and stays in
R. The release adds small constants to counts and priors before it divides and takes logarithms; here every
class has images and there are none. Settings: `longtail/config/presets/lade.py`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from longtail.config.presets.lade import Settings
from longtail.methods.balanced_softmax import balanced_softmax_losses, log_counts
from longtail.training.method import Method, StepInfo, Task


def density_ratio_regulariser(logits: Tensor, labels: Tensor, log_prior: Tensor, kappa: float) -> Tensor:
    """R, a scalar, of logits [B, C], labels [B] and log pi_c [C]."""
    images, classes = logits.shape
    own = labels[:, None] == torch.arange(classes, device=labels.device)
    means = torch.where(own, logits, 0).sum(dim=0) / own.sum(dim=0).clamp(min=1)
    balanced = logits - log_prior - math.log(classes)
    log_means = torch.logsumexp(balanced, dim=0) - math.log(images)
    return -torch.dot(log_prior.exp(), means - log_means - kappa * log_means**2)


class LADE(Method):
    """Balanced Softmax and the regulariser."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.log_prior = torch.log_softmax(log_counts(task), dim=0)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """l_i, [B], of logits [B, C] and labels [B]: the part of L that single images have."""
        return balanced_softmax_losses(logits, labels, self.log_prior.to(logits.dtype))

    def batch_loss(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """L, a scalar, of logits [B, C] and labels [B]."""
        log_prior = self.log_prior.to(logits.dtype)
        regulariser = density_ratio_regulariser(logits, labels, log_prior, self.settings.kappa)
        return super().batch_loss(logits, labels, info) + self.settings.alpha * regulariser


METHOD = LADE
