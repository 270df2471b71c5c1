"""Focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017): easy images count less.

    softmax   l_i = (1 - p_y)^gamma (-log p_y)
    sigmoid   l_i = sum_c (1 - q_c)^gamma (-log q_c),  q_c = sigmoid(z_c) for c = y, 1 - sigmoid(z_c) else

Difficulty-Net's authors run the softmax form with gamma = 1 on CIFAR-100-LT and the sigmoid form on
ImageNet-LT; the sigmoid form is that of Cui et al. (CVPR 2019), with their first biases -log(C - 1). In
the code of Difficulty-Net no gradient passes through the factor: `factor_gradient: false`. Settings and
defaults: `longtail/config/presets/focal.py`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.focal import Settings
from longtail.training.method import Method, StepInfo, Task


def faded(log_p: Tensor, gamma: float, factor_gradient: bool) -> Tensor:
    """(1 - p)^gamma (-log p), elementwise, from log p of any shape."""
    # 1 - p without cancellation; the floor keeps the slope of x^gamma finite at p = 1
    miss = -torch.expm1(log_p)
    factor = miss.clamp(min=torch.finfo(log_p.dtype).tiny) ** gamma
    return (factor if factor_gradient else factor.detach()) * -log_p


def softmax_focal_losses(
    logits: Tensor, labels: Tensor, gamma: float, factor_gradient: bool = True
) -> Tensor:
    """Losses [B] of logits [B, C] and labels [B]: Lin et al., Eq. 4, with p of the softmax."""
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    return faded(log_p, gamma, factor_gradient)


def sigmoid_focal_losses(
    logits: Tensor, labels: Tensor, gamma: float, factor_gradient: bool = True
) -> Tensor:
    """Losses [B] of logits [B, C] and labels [B]: one sigmoid a class, summed (Cui et al.)."""
    own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    log_q = F.logsigmoid(torch.where(own, logits, -logits))
    return faded(log_q, gamma, factor_gradient).sum(dim=1)


def with_prior_biases(network: nn.Module) -> nn.Module:
    """`network` with the classifier's biases at -log(C - 1): every sigmoid starts near 1/C.

    Starting at 1/2, the C - 1 sigmoids of other classes would dominate the first steps (Cui et al.'s code). A
    cosine classifier has no biases and is unchanged.
    """
    classifier = network.classifier
    assert isinstance(classifier, nn.Linear)
    if classifier.bias is not None:
        nn.init.constant_(classifier.bias, -math.log(classifier.out_features - 1))
    return network


class Focal(Method):
    """Cross-entropy with a factor that fades where the network is right."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.losses = softmax_focal_losses if self.settings.form == "softmax" else sigmoid_focal_losses

    def adapt(self, network: nn.Module) -> nn.Module:
        """`network`; for the sigmoid form with other first biases."""
        return network if self.settings.form == "softmax" else with_prior_biases(network)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        return self.losses(logits, labels, self.settings.gamma, self.settings.factor_gradient)


METHOD = Focal
