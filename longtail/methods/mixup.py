"""Mixup: cross-entropy on blends of two images, with the labels of both.

    x_i' = lambda x_i + (1 - lambda) x_s(i),   lambda ~ Beta(alpha, alpha), s a permutation of the batch
    L = lambda CE(f(x'), y) + (1 - lambda) CE(f(x'), y_s)

Hongyi Zhang, Moustapha Cisse, Yann N. Dauphin and David Lopez-Paz, "mixup: Beyond Empirical Risk
Minimization", ICLR 2018. One lambda and one permutation a batch, as in their code. It is stage 1 of MiSLAS
(Zhisheng Zhong, Jiequan Cui, Shu Liu and Jiaya Jia, "Improving Calibration for Long-Tailed Recognition", CVPR
2021), whose alpha on CIFAR is the default. Settings: `longtail/config/presets/mixup.py`.
"""

from typing import Any

import torch
from scipy.special import betaincinv
from torch import Tensor, nn

from longtail.config.presets.mixup import Settings
from longtail.randomness import generator
from longtail.training.method import Batch, Method, StepInfo, Task
from longtail.training.transfers import to_device


def draw_share(alpha: float, draws: torch.Generator) -> float:
    """lambda ~ Beta(alpha, alpha), by inversion of its distribution function; 1 for alpha = 0."""
    uniform = float(torch.rand((), dtype=torch.float64, generator=draws))
    return float(betaincinv(alpha, alpha, uniform)) if alpha else 1.0


class Mixup(Method):
    """Cross-entropy on blended images."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)

    def draw(self, images: int, iteration: int) -> tuple[float, Tensor]:
        """lambda and the permutation s, int64 [B], of the batch of `iteration`."""
        draws = generator(self.task.seed, "mixup", iteration)
        return draw_share(self.settings.alpha, draws), torch.randperm(images, generator=draws)

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The gradient of L."""
        share, partners = self.draw(batch.labels.numel(), info.iteration)
        partners = to_device(partners, batch.labels.device)
        others = batch.whole(batch.images)[partners[batch.ranks.part(len(partners))]]
        logits = batch.whole(model(share * batch.images + (1 - share) * others))
        own = self.batch_loss(logits, batch.labels, info)
        other = self.batch_loss(logits, batch.labels[partners], info)
        loss = share * own + (1 - share) * other
        loss.backward()
        return {"train_loss": loss.detach()}


METHOD = Mixup
