"""Difficulty-Net (Sinha & Ohashi, WACV 2023): class weights from meta-learned difficulties, Eqs. 1-11.

Each iteration, with a = accuracies on the meta set (zeros at first, then refreshed after every epoch):

1. look ahead:  phi_hat = phi - alpha grad (1/B) sum_i w_{y_i}(theta) l_i(phi)          Eqs. 4, 9
2. theta:       Adam on lambda L_dr(a, theta) + L_meta(phi_hat(theta)), one meta batch   Eqs. 7, 8, 10
3. phi:         SGD on (1/B) sum_i w_{y_i}(new theta) l_i(phi), the batch of 1           Eq. 11

The gradient of step 2 goes through step 1 (`longtail.meta.meta_gradient`). In the authors' release it does
not: the weights are rebuilt as a fresh tensor, so theta sees the driver loss alone. That is
`meta_gradient: detached` here. Also there, "+ Bal. Softmax" multiplies the mean loss by the mean weight:
`weighting: averaged`; and on ImageNet-LT and Places-LT the accuracies are measured before the first epoch
(`first_accuracies`), and the meta loss is L (`meta_loss`). Settings, defaults and where they come from:
`longtail/config/presets/difficulty_net.py`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from longtail.config.presets.difficulty_net import Settings
from longtail.meta.difficulty import DifficultyNet, class_weights, driver_loss
from longtail.meta.meta_gradient import through_weights
from longtail.meta.tangents import Forward
from longtail.methods.balanced_softmax import balanced_softmax_losses, log_counts
from longtail.randomness import global_draws
from longtail.training.image_sets import ImageSet
from longtail.training.learned_weights import LearnedWeights
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.optimisers import Adam
from longtail.training.trainer import class_accuracy, predict


class DifficultyNetMethod(LearnedWeights):
    """The three-step algorithm."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        with global_draws(task.seed, "difficulty_net"):
            net = DifficultyNet(
                task.classes,
                self.settings.hidden,
                bias=self.settings.bias,
                relative=self.settings.difficulty == "relative",
            )
        self.net = net.to(task.device)
        self.theta = list(self.net.parameters())
        self.optimiser = Adam(self.theta, self.settings.learning_rate, self.settings.weight_decay)
        self.accuracy = torch.zeros(task.classes, device=task.device)
        self.log_counts = log_counts(task)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """L of Eqs. 5, 9 and 11, [B], unweighted."""
        if self.settings.loss == "balanced_softmax":
            return balanced_softmax_losses(logits, labels, self.log_counts.to(logits.dtype))
        return super().sample_losses(logits, labels, info)

    def meta_criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L_meta of Eq. 8."""
        if self.settings.meta_loss == "balanced_softmax":
            return balanced_softmax_losses(logits, labels, self.log_counts.to(logits.dtype)).mean()
        return super().meta_criterion(logits, labels)

    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """Measure the accuracies before the first epoch, if the settings say so."""
        # a later epoch in which all are 0 measures the same
        if self.settings.first_accuracies == "measured" and not self.accuracy.any():
            self.refresh(class_accuracy(predict(model, meta), meta.labels))

    def sample_weights(self, labels: Tensor) -> Tensor:
        """Weights [B] of images with these labels [B], with the graph of theta."""
        own = class_weights(self.net(self.accuracy))[labels]
        return own.mean().repeat(own.numel()) if self.settings.weighting == "averaged" else own

    def batch_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """`sample_weights`: they do not depend on the losses."""
        return self.sample_weights(labels)

    def step_theta(
        self, forward: Forward, losses: Tensor, batch: Batch, meta: Batch, info: StepInfo
    ) -> dict[str, Tensor]:
        """Eqs. 7-10: one step of Adam on theta."""
        scalars: dict[str, Tensor] = {}

        driver = driver_loss(self.net(self.accuracy), self.accuracy, self.settings.driver_reduction)
        scale = self.settings.lambda_ if self.settings.driver_loss else 0.0
        gradient = list(torch.autograd.grad(scale * driver, self.theta))
        scalars["driver_loss"] = driver.detach()
        scalars["grad_norm_driver"] = torch.nn.utils.get_total_norm(gradient)

        if self.settings.meta_gradient == "exact":
            weights = self.sample_weights(batch.labels)
            ahead = self.look_ahead(forward, losses, weights, batch, meta, info)
            through = through_weights(weights, self.theta, ahead.sample_weights)
            scalars["meta_loss"] = ahead.loss
            scalars["grad_norm_meta"] = torch.nn.utils.get_total_norm(through)
            gradient = [driver + meta for driver, meta in zip(gradient, through, strict=True)]

        for parameter, value in zip(self.theta, batch.ranks.first(gradient), strict=True):
            parameter.grad = value
        self.optimiser.step()
        return scalars

    @torch.no_grad()
    def difficulty(self) -> Tensor:
        """d = D(a; theta), [C]."""
        return self.net(self.accuracy)

    def weights(self) -> Tensor:
        """w = C d / sum d, [C]."""
        return class_weights(self.difficulty())


METHOD = DifficultyNetMethod
