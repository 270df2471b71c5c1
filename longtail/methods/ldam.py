"""LDAM: margins that grow as classes get smaller, and LDAM-DRW with deferred re-weighting.

    Delta_c = max_margin n_c^{-1/4} / max_k n_k^{-1/4}
    l_i = -log softmax(s (cos theta_y - Delta_y), s cos theta_k for k != y)_y
    L = sum_i w_{y_i} l_i / sum_i w_{y_i}

Kaidi Cao, Colin Wei, Adrien Gaidon, Nikos Arechiga and Tengyu Ma, "Learning Imbalanced Datasets with
Label-Distribution-Aware Margin Loss", NeurIPS 2019. theta_k is the angle between the feature and the k-th
class vector; at test the logits are plain s cos theta. The weights w are 1. With `drw` they are those of the
effective number of images (`longtail.methods.class_balanced`) from `drw_start` of the training on (Algorithm
1). Defaults and the division by the sum of the batch's weights are those of the release. Difficulty-Net's
Table 1 does not say whether its LDAM row has DRW. Settings: `longtail/config/presets/ldam.py`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.ldam import Settings
from longtail.methods.class_balanced import effective_number_weights
from longtail.networks.cosine import CosineClassifier
from longtail.randomness import global_draws
from longtail.training.method import Batch, Method, StepInfo, Task


def margins(counts: Tensor, max_margin: float) -> Tensor:
    """Delta_c in cosines, float64 [C], from training counts [C]; the smallest class has `max_margin`."""
    rise = counts.to(torch.float64) ** -0.25
    return rise * (max_margin / rise.max())


def margin_losses(logits: Tensor, labels: Tensor, margin: Tensor) -> Tensor:
    """Losses [B] of logits [B, C], labels [B] and margins [C] on the scale of the logits."""
    own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    return F.cross_entropy(logits - own * margin, labels, reduction="none")


class LDAM(Method):
    """Cross-entropy of cosines with a margin for the own class."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.margins = margins(task.counts, self.settings.max_margin).to(task.device)
        self.late_weights = effective_number_weights(task.counts, self.settings.drw_beta).to(task.device)
        self.early_weights = torch.ones_like(self.late_weights)
        self.in_force = self.early_weights

    def adapt(self, network: nn.Module) -> nn.Module:
        """`network` with a classifier of cosines."""
        old = network.classifier
        assert isinstance(old, nn.Linear)
        with global_draws(self.task.seed, "cosine_classifier"):
            new = CosineClassifier(old.in_features, old.out_features, self.settings.scale)
        network.classifier = new.to(old.weight)
        return network

    def class_weights(self, info: StepInfo) -> Tensor:
        """w_c of mean 1 at `info`, float64 [C]."""
        late = self.settings.drw and info.progress >= self.settings.drw_start
        return self.late_weights if late else self.early_weights

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """w_{y_i} l_i, [B], of logits s cos theta [B, C] and labels [B]."""
        losses = margin_losses(logits, labels, self.settings.scale * self.margins.to(logits.dtype))
        return self.class_weights(info).to(logits.dtype)[labels] * losses

    def batch_loss(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """L, a scalar."""
        weights = self.class_weights(info).to(logits.dtype)[labels]
        return self.sample_losses(logits, labels, info).sum() / weights.sum()

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The gradient of L."""
        self.in_force = self.class_weights(info)
        return super().backward(model, batch, meta, info)

    def weights(self) -> Tensor | None:
        """w_c of the last step, [C]; None without `drw`."""
        return self.in_force if self.settings.drw else None

    def state(self) -> dict[str, Any]:
        """The weights of the last step."""
        return {"weights": self.in_force}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.in_force = state["weights"].to(self.in_force)


METHOD = LDAM
