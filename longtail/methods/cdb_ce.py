"""CDB-CE (Sinha et al., ACCV 2020): cross-entropy weighted by the difficulty of classes.

    d_c = 1 - a_c,   w_c = d_c^tau C / sum_k d_k^tau,   l_i = w_{y_i} (-log p_{y_i})

Saptarshi Sinha et al., "Class-Wise Difficulty-Balanced Loss for Solving Class-Imbalance". a_c are the
accuracies on the meta set, measured after each epoch; at first they are 0, so all weights are 1. tau is
a number, or dynamic: tau = 2 / (1 + exp(-b)), b = max a / (min a + 0.01) - 1. That is the publication, and
the ImageNet code of the release (CDB-loss); its CIFAR script trains with 1 / (1 + exp(-b - 1)) instead, which
is `dynamic_released`.

Difficulty-Net's Figure 1 compares 1 - a (`difficulty: linear`) with three other decreasing functions that
it does not name: 1 - a^2, (1 - a)^2 and exp(-a) are this project's choice.
`relative` is 1 - a_c / sum_k a_k, our reading of row #5 of Table 4 ("Ours w/o L_dr and ML"): the
difficulties are relative, as Difficulty-Net's, but nothing is learned.

Difficulty-Net's release puts difficulties already scaled to sum C into that second formula.
Settings and defaults: `longtail/config/presets/cdb_ce.py`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.config.presets.cdb_ce import Settings
from longtail.training.method import Method, StepInfo, Task


def relative_difficulty(accuracy: Tensor) -> Tensor:
    """1 - a_c / sum a, [C], of accuracies [C]; all 1 where all accuracies are 0."""
    total = accuracy.sum()
    # exact: a floor under the sum would lift a class of difficulty 0, strongly so for tau < 1
    return 1 - accuracy / torch.where(total > 0, total, 1.0)


DIFFICULTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda a: 1 - a,
    "concave": lambda a: 1 - a**2,
    "convex": lambda a: (1 - a) ** 2,
    "exponential": lambda a: torch.exp(-a),
    "relative": relative_difficulty,
}
"""Difficulties [C] from accuracies [C] in 0..1; each is 1 everywhere where all accuracies are 0."""


def dynamic_tau(accuracy: Tensor) -> Tensor:
    """tau, a scalar, from accuracies [C]: about 1 where all are equal, towards 2 as they fall apart."""
    bias = accuracy.max() / (accuracy.min() + 0.01) - 1
    return 2 * torch.sigmoid(bias)


def released_tau(accuracy: Tensor) -> Tensor:
    """tau, a scalar, from accuracies [C], as the CIFAR script of CDB-loss has it: from about 0.73 to 1."""
    return torch.sigmoid(accuracy.max() / (accuracy.min() + 0.01))


DYNAMIC = {"dynamic": dynamic_tau, "dynamic_released": released_tau}


def difficulty_weights(difficulty: Tensor, tau: float | Tensor) -> Tensor:
    """w_c = C d_c^tau / sum d^tau, [C], of difficulties [C] >= 0; all 1 where no class is difficult."""
    peak = difficulty.max()
    # relative to the largest: no power overflows and not all underflow
    scaled = torch.where(peak > 0, difficulty / peak, 1.0)
    powers = scaled**tau
    return powers * (powers.numel() / powers.sum())


class CDBCE(Method):
    """Weights straight from the accuracies."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.accuracy, self.difficulties, self.class_weights = (
            torch.zeros(task.classes, dtype=torch.float64, device=task.device) for _ in range(3)
        )
        self.refresh(self.accuracy)

    def sample_losses(self, logits: Tensor, labels: Tensor, info: StepInfo) -> Tensor:
        """Losses [B] of logits [B, C] and labels [B]."""
        losses = F.cross_entropy(logits, labels, reduction="none")
        return self.class_weights.to(logits.dtype)[labels] * losses

    def refresh(self, accuracy: Tensor) -> None:
        """Receive the accuracies [C] on the meta set."""
        self.accuracy.copy_(accuracy)
        self.difficulties.copy_(DIFFICULTIES[self.settings.difficulty](self.accuracy))
        tau = self.settings.tau
        if isinstance(tau, str):
            tau = DYNAMIC[tau](self.accuracy)
        self.class_weights.copy_(difficulty_weights(self.difficulties, tau))

    def difficulty(self) -> Tensor:
        """d_c, [C]."""
        return self.difficulties

    def weights(self) -> Tensor:
        """w_c, [C]."""
        return self.class_weights

    def state(self) -> dict[str, Any]:
        """The accuracies, which determine everything else."""
        return {"accuracy": self.accuracy.clone()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.refresh(state["accuracy"])


METHOD = CDBCE
