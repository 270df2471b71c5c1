"""Classifier retraining with weight decay and MaxNorm (Alshammari et al., CVPR 2022).

    min over W, b:  mean_i [-log p_{y_i}] + decay/2 (||W||^2 + ||b||^2)   with   ||w_c|| <= r
    r = l_min + radius (l_max - l_min),   l_c the lengths of stage 1's class vectors

Shaden Alshammari et al., "Long-Tailed Recognition via Weight Balancing". Classes with many images get long
class vectors; decay shrinks long ones most, and a projection after each step keeps them all within a ball but
lets short ones grow. W and b start as stage 1's. One classifier is trained for each radius and decay of a
grid, side by side on the same frozen features; the head is the one with the best accuracy on the meta set
after an epoch (of equally good ones the smaller radius, then the smaller decay).

The release draws images as often as they are, with the Class-Balanced loss (beta = 0.9999, close to inverse
counts below 500 images), projects once an epoch, and keeps the epoch that does best on the test set. Here the
sampler balances the classes, as for cRT. Its loss is a binary cross-entropy averaged over classes, so its
decay of 0.1 is to be compared with 0.1 C here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.maxnorm import DECAYS, RADII, Settings
from longtail.networks.cosine import CosineClassifier
from longtail.networks.heads import WithHead
from longtail.training.choices import combinations
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.post_hoc import ChoosingHead, choose, features_of

if TYPE_CHECKING:
    from longtail.training.image_sets import ImageSet


class BoundedClassifiers(nn.Module):
    """K linear classifiers, which start as stage 1's; one of them is chosen.

    For a cosine classifier: features scaled to its scale, and class vectors of length 1.
    """

    limit: Tensor
    """Of the lengths of class vectors, [K, 1]."""
    chosen: Tensor
    """int64, a scalar."""

    def __init__(self, classifier: nn.Linear, radii: Sequence[float]) -> None:
        """`radii` [K]: between the shortest (0) and the longest (1) class vector of `classifier`."""
        super().__init__()
        self.cosine = classifier.scale if isinstance(classifier, CosineClassifier) else None
        weight = classifier.weight.detach()
        if self.cosine is not None:
            weight = F.normalize(weight)
        lengths, share = weight.norm(dim=1), weight.new_tensor(radii)[:, None]
        self.register_buffer("limit", lengths.min() + share * (lengths.max() - lengths.min()))
        self.register_buffer("chosen", torch.tensor(0, device=weight.device))
        self.weight = nn.Parameter(weight.repeat(len(radii), 1, 1))
        bias = classifier.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat(len(radii), 1))

    def every(self, features: Tensor) -> Tensor:
        """Logits [K, B, C] of features [B, F] by each classifier."""
        logits = self._scaled(features) @ self.weight.mT
        return logits if self.bias is None else logits + self.bias[:, None]

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F] by the chosen classifier."""
        bias = None if self.bias is None else self.bias[self.chosen]
        return F.linear(self._scaled(features), self.weight[self.chosen], bias)

    def squares(self) -> Tensor:
        """||W||^2 + ||b||^2 of each classifier, [K]."""
        squares = self.weight.square().sum(dim=(1, 2))
        return squares if self.bias is None else squares + self.bias.square().sum(dim=1)

    @torch.no_grad()
    def project(self) -> None:
        """Shorten the class vectors that are longer than the limit to it."""
        lengths = self.weight.norm(dim=2)
        self.weight.mul_(torch.where(lengths > self.limit, self.limit / lengths, 1)[:, :, None])

    def _scaled(self, features: Tensor) -> Tensor:
        return features if self.cosine is None else self.cosine * F.normalize(features)


class MaxNorm(ChoosingHead):
    """Cross-entropy with decay for all classifiers of the grid, and a projection after each step."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        found = Settings.model_validate(settings)
        self.grid = {
            "radius": RADII if found.radius is None else (found.radius,),
            "decay": DECAYS if found.decay is None else (found.decay,),
        }
        numbers = combinations(self.grid)
        self.radii = [own["radius"] for own in numbers]
        self.decays = torch.tensor([own["decay"] for own in numbers], dtype=torch.float64, device=task.device)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """A copy of stage 1's classifier for each radius and decay."""
        return BoundedClassifiers(classifier, self.radii)

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The gradients of all classifiers, each of its own loss; the history has the mean loss."""
        head = _head(model)
        head.project()  # what the last step moved
        assert isinstance(model, WithHead)
        own = head.every(model.features(batch.images))
        logits = batch.whole(own.transpose(0, 1)).transpose(0, 1)
        count = len(logits)
        losses = self.sample_losses(logits.flatten(0, 1), batch.labels.repeat(count), info)
        means = losses.view(count, -1).mean(dim=1)
        squares = batch.ranks.once(head.squares())
        (means + self.decays.to(means.dtype) / 2 * squares).sum().backward()
        return {"train_loss": means.mean().detach()}

    @torch.no_grad()
    def end_epoch(self, model: nn.Module, meta: ImageSet) -> None:
        """Choose a classifier on the meta set."""
        head = _head(model)
        head.project()
        assert isinstance(model, WithHead)
        self.chosen = choose(self.grid, head.every(features_of(model, meta)), meta.labels)
        head.chosen.fill_(combinations(self.grid).index(self.chosen.chosen))


def _head(model: nn.Module) -> BoundedClassifiers:
    assert isinstance(model, WithHead)
    assert isinstance(model.head, BoundedClassifiers)
    return model.head


METHOD = MaxNorm
