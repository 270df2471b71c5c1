"""tau-normalisation (Kang et al., "Decoupling Representation and Classifier", ICLR 2020, Sec. 4.2).

    z_c = w_c . h / ||w_c||^tau

Classes with many images get long class vectors; dividing by a power of the length takes that away. w is stage
1's and the bias is dropped. Nothing is trained: tau comes from a grid, 0 to 2 in steps of 0.1, by accuracy on
the meta set, the smallest of equally good ones. The paper searches tau between 0 and 1, its code from 0 to 2;
there a row of zeros would give NaN, here it stays zero. For a cosine classifier, h is the feature scaled to
the classifier's scale, so that tau = 1 gives stage 1's logits.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.tau_norm import Settings
from longtail.networks.adjusted import AdjustedClassifier
from longtail.training.post_hoc import PostHocHead


def tau_normalised(weight: Tensor, tau: Tensor) -> Tensor:
    """w_c / ||w_c||^tau of class vectors [C, F] and a scalar; a row of zeros stays zero."""
    length = weight.norm(dim=1, keepdim=True)
    return weight / torch.where(length > 0, length, 1).pow(tau)


class TauNormalisedClassifier(AdjustedClassifier):
    """Stage 1's class vectors, shortened."""

    def __init__(self, classifier: nn.Linear, numbers: Mapping[str, float]) -> None:
        super().__init__(classifier, numbers)
        self.bias = None

    def adjusted(self, features: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, C] of features [B, F] under `tau`."""
        if self.cosine is not None:
            features = self.cosine * F.normalize(features)
        return F.linear(features, tau_normalised(self.weight, numbers["tau"]))


class TauNorm(PostHocHead):
    """A choice of tau."""

    settings_model = Settings
    numbers = ("tau",)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's class vectors under tau."""
        return TauNormalisedClassifier(classifier, self.first)


METHOD = TauNorm
