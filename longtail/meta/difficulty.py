"""D: predicts the difficulty of each class from all accuracies (Sinha & Ohashi, WACV 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACCURACY_FLOOR = 1e-12
"""Added to the sum of accuracies in Eq. 7, which is zero when every class fails."""


class DifficultyNet(nn.Module):
    """D(a; theta) of Eq. 1: two hidden layers with ReLU, a sigmoid per class.

    relative: D sees all accuracies, so the difficulty of a class depends on the other classes.
    absolute (Sec. 4.5): d_c = D(a_c; theta), the same scalar network for every class.
    """

    def __init__(self, classes: int, hidden: int, bias: bool = False, relative: bool = True) -> None:
        super().__init__()
        width = classes if relative else 1
        self.relative = relative
        self.layers = nn.Sequential(
            nn.Linear(width, hidden, bias=bias),
            nn.ReLU(),
            nn.Linear(hidden, hidden, bias=bias),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, accuracy: Tensor) -> Tensor:
        """Difficulties [C] in (0, 1) from accuracies [C] in [0, 1]."""
        if self.relative:
            return self.layers(accuracy)
        return self.layers(accuracy[:, None])[:, 0]


def class_weights(difficulty: Tensor) -> Tensor:
    """Eq. 4: w_c = C d_c / sum d, from difficulties [C]; the weights [C] have mean 1."""
    return difficulty * (difficulty.numel() / difficulty.sum())


def driver_target(accuracy: Tensor) -> Tensor:
    """Targets [C] of the driver loss (Eq. 7): 1 - a_c / sum a, from accuracies [C]."""
    return 1 - accuracy / (accuracy.sum() + ACCURACY_FLOOR)


def driver_loss(difficulty: Tensor, accuracy: Tensor, reduction: str = "mean") -> Tensor:
    """Eq. 7: squared distance of difficulties [C] from `driver_target`; mean or sum over classes, scalar."""
    return F.mse_loss(difficulty, driver_target(accuracy), reduction=reduction)


def difficulty_entropy(difficulty: Tensor) -> Tensor:
    """Fig. 3: E = -(1/C) sum_c log(C q_c), q = d / sum d, from difficulties [C].

    Zero when all difficulties are equal, else positive: the KL divergence of q from the uniform distribution.
    """
    # rounding can make it negative by about 1e-16
    return -torch.log(class_weights(difficulty)).mean().clamp(max=0)
