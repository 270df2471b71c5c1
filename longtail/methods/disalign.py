"""DisAlign (Zhang et al., "Distribution Alignment", CVPR 2021): stage 1's logits, calibrated.

    z'_c = s (alpha_c z_c + beta_c) + (1 - s) z_c,   s = sigmoid(v . h)
    l_i  = w_{y_i} (-log softmax(z')_{y_i}),         w_c = pi_c^(-rho) / sum_k pi_k pi_k^(-rho)

h and z are the frozen features and logits of stage 1. Trained are the confidence vector v [F], shared by all
classes, and a scale alpha_c and an offset beta_c a class, on images drawn as often as they are.

Choices of ours: v = 0, alpha = 1, beta = 0 at first, so that training starts at stage 1's logits; and weights
with mean 1 over training images, so that rho and the imbalance do not change the size of a step. The released
code divides a batch's loss by the sum of its weights, which comes to the same for large batches. Its logits
are (1 + s alpha_c) z_c + s beta_c, and s has an offset; those of the paper are above.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.disalign import Settings
from longtail.networks.heads import FixedClassifier
from longtail.training.method import Method, StepInfo, Task


def reweighting(counts: Tensor, rho: float) -> Tensor:
    """w_c, float64 [C], from training counts [C]: their mean over training images is 1."""
    n = counts.to(torch.float64)
    weights = (n / n.mean()).pow(-rho)
    return weights * n.sum() / torch.dot(n, weights)


class CalibratedClassifier(FixedClassifier):
    """Stage 1's classifier, frozen, under a calibration that is trained."""

    def __init__(self, classifier: nn.Linear) -> None:
        super().__init__(classifier)
        self.alpha = nn.Parameter(self.ones)
        self.beta = nn.Parameter(torch.zeros_like(self.ones))
        self.confidence = nn.Parameter(torch.zeros_like(self.weight[0]))

    def forward(self, features: Tensor) -> Tensor:
        """Logits z' [B, C] of features [B, F]."""
        logits = self.logits(features)
        confidence = torch.sigmoid(features @ self.confidence)[:, None]
        return logits + confidence * ((self.alpha - 1) * logits + self.beta)


class DisAlign(Method):
    """Re-weighted cross-entropy of calibrated logits."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        rho = Settings.model_validate(settings).rho
        self.class_weights = reweighting(task.counts, rho).to(task.device)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's classifier, frozen, under alpha, beta and v."""
        return CalibratedClassifier(classifier)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits z' [B, C]."""
        losses = F.cross_entropy(logits, labels, reduction="none")
        return self.class_weights.to(logits.dtype)[labels] * losses

    def weights(self) -> Tensor:
        """w, [C], scaled to mean 1 over classes."""
        return self.class_weights / self.class_weights.mean()


METHOD = DisAlign
