"""tau-normalisation (Kang et al., "Decoupling Representation and Classifier", ICLR 2020, Sec. 4.2).

    z_c = w_c . h / ||w_c||^tau

Classes with many images get long class vectors; dividing by a power of the length takes that away. w is stage
1's and the bias is dropped. Nothing is trained: tau comes from a grid, 0 to 2 in steps of 0.1, by accuracy on
the meta set, the smallest of equally good ones. The paper searches tau between 0 and 1, its code from 0 to 2;
there a row of zeros would give NaN, here it stays zero. For a cosine classifier, h is the feature scaled to
the classifier's scale, so that tau = 1 gives stage 1's logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.tau_norm import Settings
from longtail.networks.cosine import CosineClassifier
from longtail.networks.heads import WithHead
from longtail.training.method import Batch, Method, StepInfo, Task

if TYPE_CHECKING:
    from longtail.training.image_sets import ImageSet

GRID = tuple(step / 10 for step in range(21))
"""The candidates for tau."""


def tau_normalised(weight: Tensor, tau: Tensor) -> Tensor:
    """w_c / ||w_c||^tau of class vectors [C, F] and a scalar; a row of zeros stays zero."""
    length = weight.norm(dim=1, keepdim=True)
    return weight / torch.where(length > 0, length, 1).pow(tau)


class TauNormalisedClassifier(nn.Module):
    """Stage 1's class vectors, shortened; nothing in it is trained."""

    tau: Tensor

    def __init__(self, classifier: nn.Linear, tau: float) -> None:
        super().__init__()
        self.cosine = classifier.scale if isinstance(classifier, CosineClassifier) else None
        self.weight = nn.Parameter(classifier.weight.detach().clone(), requires_grad=False)
        self.register_buffer("tau", self.weight.new_tensor(tau))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        if self.cosine is not None:
            features = self.cosine * F.normalize(features)
        return F.linear(features, tau_normalised(self.weight, self.tau))


def best_tau(weight: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """The smallest tau of the grid with most features [N, F] classified as their labels [N], a scalar."""
    grid = weight.new_tensor(GRID)
    right = [(F.linear(features, tau_normalised(weight, tau)).argmax(dim=1) == labels).sum() for tau in grid]
    return grid[torch.stack(right).argmax()]  # the first of the largest


class TauNorm(Method):
    """A choice of tau in place of a training."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's class vectors under the tau of the settings, 0 until it is chosen."""
        return TauNormalisedClassifier(classifier, self.settings.tau or 0.0)

    @torch.no_grad()
    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Choose tau on the meta set, unless the settings do; it becomes a buffer of the head."""
        if self.settings.tau is not None:
            return
        assert isinstance(model, WithHead)
        assert isinstance(model.head, TauNormalisedClassifier)
        features = torch.cat([model.features(images) for images in meta.batches()])
        model.head.tau.copy_(best_tau(model.head.weight, features, meta.labels))

    @torch.no_grad()
    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The loss, for the history; no gradient."""
        return {"train_loss": self.batch_loss(model(batch.images), batch.labels, info)}


METHOD = TauNorm
