"""Difficulty-Net without class-level weighting: Table 4 #8 of Sinha & Ohashi, WACV 2023.

The network sees the losses of a whole batch and predicts a difficulty for each image of it:

    d = D(l_1, ..., l_B; theta) in (0,1)^B,   w_i = B d_i / sum_j d_j                        Eqs. 1, 4
    L_dr = (1/B) sum_i (1 - q_i / sum_j q_j - d_i)^2,   q_i = exp(-l_i) = p_{y_i}            Eq. 7

D has two hidden layers with ReLU and no biases, and the three steps are those of
`longtail.methods.difficulty_net`, the meta-gradient exact. The losses enter D as constants, in the inner
step too, as the accuracies do in Difficulty-Net.

The paper describes this row in a sentence and released no code for it. Certain: all B losses in, B
difficulties out, both terms of Eq. 8. Our reading: the widths, the weights' normalisation, q in place of
accuracies in the driver's target, and that a last short batch is left out of each epoch, since D has a
fixed number of inputs. The order of images in a batch is arbitrary, and D is not indifferent to it.
Settings, defaults and where they come from: `longtail/config/presets/sample_difficulty_net.py`.
"""

from typing import Any

import torch
from torch import Tensor

from longtail.config.presets.sample_difficulty_net import Settings
from longtail.meta.difficulty import DifficultyNet, class_weights, driver_loss
from longtail.meta.meta_gradient import through_weights
from longtail.meta.tangents import Forward
from longtail.randomness import global_draws
from longtail.training.learned_weights import LearnedWeights
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.optimisers import Adam
from longtail.training.samplers import Sampler


class FullBatches:
    """The batches of a sampler without the short one at the end of each of its epochs."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.batch_size = sampler.batch(0).numel()
        last = sampler.batch(sampler.batches_per_epoch - 1).numel()
        self.batches_per_epoch = sampler.batches_per_epoch - (last < self.batch_size)

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration`."""
        epoch, position = divmod(iteration, self.batches_per_epoch)
        return self.sampler.batch(epoch * self.sampler.batches_per_epoch + position)


class SampleDifficultyNet(LearnedWeights):
    """Difficulty-Net on the losses of a batch in place of the accuracies of classes."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Sampler:
        """Full batches only: of `batch_size`, or of all images where these are fewer. Makes D for them."""
        batches = FullBatches(super().sampler(name, labels, batch_size))
        with global_draws(self.task.seed, "sample_difficulty_net"):
            net = DifficultyNet(batches.batch_size, self.settings.hidden)
        self.net = net.to(self.task.device)
        self.optimiser = Adam(self.net.parameters(), self.settings.learning_rate, self.settings.weight_decay)
        return batches

    def batch_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """w = B d / sum d, [B], with d = D(losses)."""
        return class_weights(self.net(losses))

    def step_theta(
        self, forward: Forward, losses: Tensor, batch: Batch, meta: Batch, info: StepInfo
    ) -> dict[str, Tensor]:
        """One step of Adam on lambda L_dr + L_meta."""
        theta = self.optimiser.parameters
        values = losses.detach()
        difficulty = self.net(values)
        weights = class_weights(difficulty)
        driver = driver_loss(difficulty, torch.exp(-values), self.settings.driver_reduction)
        own = torch.autograd.grad(self.settings.lambda_ * driver, theta, retain_graph=True)
        ahead = self.look_ahead(forward, losses, weights, batch, meta, info)
        through = through_weights(weights, theta, ahead.sample_weights)
        gradient = [driver + meta for driver, meta in zip(own, through, strict=True)]
        for parameter, value in zip(theta, batch.ranks.first(gradient), strict=True):
            parameter.grad = value
        self.optimiser.step()
        return {
            "meta_loss": ahead.loss,
            "driver_loss": driver.detach(),
            "grad_norm_driver": torch.nn.utils.get_total_norm(own),
            "grad_norm_meta": torch.nn.utils.get_total_norm(through),
        }

    def refresh(self, accuracy: Tensor) -> None:
        """Nothing: D reads losses, not accuracies."""

    def state(self) -> dict[str, Any]:
        """theta and Adam's moments."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state(state["optimiser"])


METHOD = SampleDifficultyNet
