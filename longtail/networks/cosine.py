"""Cosine classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def class_logits(features: Tensor, weight: Tensor, bias: Tensor | None, cosine: float | None) -> Tensor:
    """Logits [B, C] of features [B, F] by class vectors [C, F]: W h + b, or of scale `cosine` and angles."""
    if cosine is None:
        return F.linear(features, weight, bias)
    return cosine * F.linear(F.normalize(features), F.normalize(weight))


class CosineClassifier(nn.Linear):
    """Logits scale * cos(angle between the feature and the class vector), without a bias.

    Class vectors start with length 1, as in the release of LDAM (Cao et al., NeurIPS 2019). Lengths do not
    change the logits, but a step turns a shorter vector further.
    """

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__(features, classes, bias=False)
        self.scale = scale

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Class vectors of length 1 from the global random state."""
        self.weight.uniform_(-1, 1)
        self.weight.copy_(F.normalize(self.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Logits [B, C] in [-scale, scale] of features [B, F]; 0 for a feature of zeros."""
        return class_logits(input, self.weight, None, self.scale)
