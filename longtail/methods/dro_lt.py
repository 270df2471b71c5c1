"""DRO-LT: features near the centroid of their class, by a loss that is robust to the centroid's error.

    L = sum_i f_{y_i} CE_i / sum_i f_{y_i} + weight L_DRO,   f_c = n_c / n_max
    score(c, i) = -(||mu_c - h_i|| + eps_c [c = y_i]) / T
    L_DRO = mean over classes c in the batch, mean over its images i, of -log softmax_i(score(c, .))_i

Dvir Samuel and Gal Chechik, "Distributional Robustness Loss for Long-tail Learning", ICCV 2021. h are the
features below the classifier. The softmax runs over the images of the batch. mu_c is the mean feature of the
class over all training images, without augmentation and with the network in evaluation mode, recomputed at
the start of each epoch and constant within it. eps_c, the radius within which the true centroid may lie, is
learned by the main optimiser, starting at 1.

The weights f, T = 1, class-aware batches and weight 1 (a sum) are those of the command that the release gives
for CIFAR-100-LT; the publication mixes the two losses with a weight. That code trains the features of a
pretrained network below a frozen classifier, and in the last epochs the classifier alone. Here features and
classifier train together, and the head cRT retrains the classifier.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.dro_lt import Settings
from longtail.training.image_sets import ImageSet
from longtail.training.method import Batch, Method, StepInfo, Task


def robust_loss(
    features: Tensor, labels: Tensor, centroids: Tensor, radii: Tensor, temperature: float
) -> Tensor:
    """L_DRO, a scalar, of features [B, F], labels [B], centroids mu [C, F] and radii eps [C]."""
    # row i holds the scores of the whole batch for the class of image i; the norm's gradient at 0 is 0
    distances = torch.linalg.vector_norm(centroids[labels][:, None] - features, dim=2)
    same = (labels[:, None] == labels).to(features.dtype)
    scores = -(distances + radii[labels][:, None] * same) / temperature
    losses = -F.log_softmax(scores, dim=1).diagonal()
    shares = 1 / same.sum(1)  # they sum to the number of classes in the batch
    return torch.dot(losses, shares) / shares.sum()


@torch.no_grad()
def class_centroids(model: nn.Module, train: ImageSet, classes: int) -> Tensor:
    """Mean features mu [C, F] of all training images, in evaluation mode; the model's mode is kept.

    Zeros for a class without an image.
    """
    was_training = model.training
    model.eval()
    sums, counts = torch.zeros(()), torch.bincount(train.labels, minlength=classes).clamp(min=1)
    first = train.ranks.part(len(train.labels)).start
    for images in train.batches():
        own = train.labels[first : first + len(images)]
        first += len(images)
        features = model.features(images)  # type: ignore[operator]
        # a product of matrices: sums of scattered rows would not be the same to the bit on every GPU run
        sums = sums + F.one_hot(own, classes).to(features.dtype).T @ features
    model.train(was_training)
    (sums,) = train.ranks.summed([sums])
    return sums / counts[:, None]


class DROLT(Method):
    """Cross-entropy and the robust loss on the features."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.radii = torch.ones(task.classes, device=task.device).requires_grad_()
        self.centroids = torch.empty(0)
        self.frequency = (task.counts / task.counts.max()).to(task.device)

    def batch_loss(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Cross-entropy weighted by f, over the sum of the batch's weights."""
        weights = self.frequency.to(logits.dtype)[labels]
        return torch.dot(weights, self.sample_losses(logits, labels, info)) / weights.sum()

    def parameters(self) -> list[Tensor]:
        """The radii eps [C]."""
        return [self.radii]

    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Measure the centroids."""
        self.centroids = class_centroids(model, train, self.task.classes)

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The gradient of L; the history has L."""
        own = model.features(batch.images)  # type: ignore[operator]
        logits, features = batch.whole(model.classifier(own)), batch.whole(own)  # type: ignore[operator]
        loss = self.batch_loss(logits, batch.labels, info)
        radii = batch.ranks.once(self.radii)
        robust = robust_loss(features, batch.labels, self.centroids, radii, self.settings.temperature)
        loss = loss + self.settings.weight * robust
        loss.backward()
        return {"train_loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        """The radii, and the centroids of the current epoch."""
        return {"radii": self.radii.detach(), "centroids": self.centroids}

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.radii.copy_(state["radii"])
        self.centroids = state["centroids"].to(self.radii.device)


METHOD = DROLT
