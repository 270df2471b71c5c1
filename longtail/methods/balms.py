"""Balanced Meta-Softmax, BALMS (Ren et al., NeurIPS 2020), stage 2: Balanced Softmax and a meta sampler.

A new linear classifier phi on frozen features. Images are drawn with replacement, each with probability
p_n proportional to rho of its class, rho_c = sigmoid(u_c), and u is meta-learned. Each iteration:

1. draw      i_b = argmax_n (log p_n + g_bn), g Gumbel noise, b = 1..B
2. ahead     phi_hat(u): one step of the classifier's own SGD, momentum and weight decay included, on
             (1/B) sum_b omega_b l_{i_b}(phi), l Balanced Softmax with the prior of the data set,
             omega_b = s_b - stop(s_b) + 1 (straight through), s_b = softmax_n(log p_n + g_bn) at i_b
3. u:        Adam on the plain cross-entropy of phi_hat(u) on a class-balanced meta batch
4. phi:      SGD on (1/B) sum_b l_{i_b}(phi), the batch of 1

At first rho = r / (r_min + r_max), r_c = pi_c^(-kappa). As all images of a class share one rho, s_b depends
on the noise through its maximum and its log-sum-exp by class alone: gradients pass through [B, C] numbers,
not [B, N]. The release differentiates twice; `longtail.meta.meta_gradient` gives the same in one tangent
pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from longtail.config.presets.balms import Settings
from longtail.meta.meta_gradient import through_weights, weight_gradient
from longtail.meta.tangents import Forward, call_without_trace
from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.networks.heads import WithHead, fresh
from longtail.randomness import global_draws, numpy_generator
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.optimisers import Adam
from longtail.training.samplers import Sampler
from longtail.training.transfers import to_device

AHEAD = 4
"""Iterations whose noise is made ahead where a GPU trains."""


def initial_logits(counts: Tensor, kappa: float) -> Tensor:
    """u, float64 [C], from training counts [C]."""
    r = (counts / counts.sum(dtype=torch.float64)).pow(-kappa)
    return torch.logit(r / (r.min() + r.max()))


@dataclass(frozen=True)
class Noise:
    """What the draws of one iteration take of g [B, N], by class: each [B, C], on the CPU."""

    image: Tensor
    """The image with the largest g."""
    largest: Tensor
    """That g, float64: the largest values decide the draw, and float32 is coarse there."""
    log_sum: Tensor
    """The log-sum-exp of g over the class, float64."""


@dataclass(frozen=True)
class NoiseSource:
    """Makes the noise of an iteration, a function of (seed, iteration)."""

    images: NDArray[np.int64]
    """All N images, class by class."""
    present: NDArray[np.int64]
    """The classes that have images."""
    starts: NDArray[np.int64]
    """Where each of them begins."""
    classes: int
    batch_size: int
    seed: int

    @classmethod
    def of(cls, labels: Tensor, classes: int, batch_size: int, seed: int) -> NoiseSource:
        """For images with `labels` [N]."""
        images = np.argsort(labels.numpy(), kind="stable")
        present, starts = np.unique(labels.numpy()[images], return_index=True)
        return cls(images, present, starts, classes, batch_size, seed)

    def make(self, iteration: int) -> Noise:
        """Draw E, exponential; g = -log E, so exp(g) = 1 / E, and only [B, C] logarithms are needed."""
        draws = numpy_generator(self.seed, "gumbel", iteration)
        scores = np.reciprocal(draws.standard_exponential((self.batch_size, len(self.images))))
        image = np.zeros((self.batch_size, self.classes), np.int64)
        largest, total = np.zeros((2, self.batch_size, self.classes))
        total[:, self.present] = np.add.reduceat(scores, self.starts, axis=1)
        rows = np.arange(self.batch_size)
        for own, start, end in zip(self.present, self.starts, [*self.starts[1:], None], strict=True):
            place = start + scores[:, start:end].argmax(axis=1)
            image[:, own], largest[:, own] = self.images[place], scores[rows, place]
        most = np.finfo(np.float64).max  # where E is 0
        logs = (torch.from_numpy(values.clip(max=most)).log() for values in (largest, total))
        return Noise(torch.from_numpy(image), *logs)


class MetaSampler:
    """B images per iteration, with replacement; an epoch is as long as one pass over the images.

    Where a GPU trains, the noise of the next iterations is made meanwhile, in threads.
    """

    def __init__(
        self, labels: Tensor, batch_size: int, seed: int, logits: Tensor, ahead: int | None = None
    ) -> None:
        """`labels` int64 [N] on the CPU; `logits` u [C], read at each draw.

        `ahead`: iterations whose noise is made in threads; None: as the device of `logits` suggests.
        """
        self.labels, self.logits = labels, logits
        self.batches_per_epoch = -(-labels.numel() // batch_size)
        self.source = NoiseSource.of(labels, logits.numel(), batch_size, seed)
        self.ahead = (AHEAD if logits.is_cuda else 0) if ahead is None else ahead
        self._pool = ThreadPoolExecutor(self.ahead) if self.ahead else None
        self._coming: dict[int, Future[Noise]] = {}
        self._last: tuple[int, Noise] | None = None

    def _noise(self, iteration: int) -> Noise:
        if self._last is None or self._last[0] != iteration:
            coming = self._coming.pop(iteration, None)
            made = self.source.make(iteration) if coming is None else coming.result()
            self._last = iteration, made
            if self._pool is not None:
                wanted = range(iteration + 1, iteration + 1 + self.ahead)
                self._coming = {
                    later: self._coming.get(later) or self._pool.submit(self.source.make, later)
                    for later in wanted
                }
        return self._last[1]

    def batch(self, iteration: int) -> Tensor:
        """The drawn images i_b, int64 [B]."""
        noise = self._noise(iteration)
        log_rho = F.logsigmoid(self.logits.detach()).to("cpu", torch.float64)
        return noise.image.gather(1, (log_rho + noise.largest).argmax(dim=1, keepdim=True))[:, 0]

    def soft(self, iteration: int, labels: Tensor) -> Tensor:
        """s_b [B] of the drawn images, which have `labels` [B], with the graph to u."""
        noise = self._noise(iteration)
        largest, total = (to_device(values, labels.device) for values in (noise.largest, noise.log_sum))
        log_rho = F.logsigmoid(self.logits)
        own = log_rho[labels] + largest.gather(1, labels[:, None])[:, 0]  # i_b: the largest of its class
        return torch.exp(own - torch.logsumexp(log_rho + total, dim=1))


class BALMS(BalancedSoftmax):
    """Balanced Softmax on batches from the meta sampler."""

    replayable = False  # the sampler's noise is that of the iteration

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.uses_meta_batch = self.settings.meta_sampler
        self.meta_batches = "training" if self.settings.meta_set == "training" else "passes"
        self.draws_ahead = not self.settings.meta_sampler
        logits = initial_logits(task.counts, self.settings.kappa)
        self.logits = logits.to(task.device, torch.get_default_dtype()).requires_grad_()
        self.optimiser = Adam([self.logits], self.settings.learning_rate, weight_decay=0.0)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """A new classifier, all of it trained."""
        with global_draws(self.task.seed, "head"):
            return fresh(classifier)

    def sampler(self, name: str, labels: Tensor, batch_size: int) -> Sampler:
        """The meta sampler, or without it the schedule's choice."""
        if not self.settings.meta_sampler:
            return super().sampler(name, labels, batch_size)
        self.draws = MetaSampler(labels, batch_size, self.task.seed, self.logits)
        return self.draws

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """Steps 2 and 3, and the gradient of step 4; both batches pass the frozen network once."""
        if not self.settings.meta_sampler:
            return super().backward(model, batch, meta, info)
        assert isinstance(model, WithHead)
        assert meta is not None
        assert info.optimiser is not None
        features, meta_features, head = model.features(batch.images), model.features(meta.images), model.head

        def losses_of(logits: Tensor) -> Tensor:
            return self.sample_losses(batch.whole(logits), batch.labels, info)

        def meta_loss(parameters: Mapping[str, Tensor]) -> Tensor:
            logits = call_without_trace(head, parameters, meta_features)
            return F.cross_entropy(meta.whole(logits), meta.labels)

        forward = Forward(head, features)
        losses = losses_of(forward.logits)
        ones = torch.ones_like(losses)  # the value of every omega_b
        gain, drift = info.optimiser.linear_step()
        step, drift = gain * info.learning_rate, [own / gain for own in drift]
        ahead = weight_gradient(
            forward, losses, ones, losses_of, meta_loss, step, drift, summed=batch.ranks.summed
        )
        soft = self.draws.soft(info.iteration, batch.labels)
        gradient = through_weights(soft, [self.logits], ahead.sample_weights)
        (self.logits.grad,) = batch.ranks.first(gradient)
        self.optimiser.step()
        losses.mean().backward()
        scalars = {"meta_loss": ahead.loss, "grad_norm_meta": self.logits.grad.norm()}
        return {"train_loss": losses.detach().mean(), **scalars}

    def weights(self) -> Tensor | None:
        """rho / mean rho, [C]: how often an image is drawn, relative to the average class."""
        rho = torch.sigmoid(self.logits.detach())
        return rho / rho.mean() if self.settings.meta_sampler else None

    def state(self) -> dict[str, Any]:
        """u and Adam's moments."""
        return {"logits": self.logits.detach(), "optimiser": self.optimiser.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.logits.detach().copy_(state["logits"])
        self.optimiser.load_state(state["optimiser"])


METHOD = BALMS
