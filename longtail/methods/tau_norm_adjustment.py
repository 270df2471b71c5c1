"""tau-normalisation and logit adjustment together, with a number each.

    z_c = w_c . h / ||w_c||^tau - adjustment log pi_c

Both take away what the prior left in a classifier: one in the lengths of the class vectors (Kang et al., ICLR
2020), one as an offset (Menon et al., ICLR 2021). As in tau-normalisation the bias is dropped. Nothing is
trained: both numbers come from a grid, each 0 to 2 in steps of 0.1, by accuracy on the meta set; of equally
good ones the smallest tau, then the smallest adjustment.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from longtail.config.presets.tau_norm_adjustment import Settings
from longtail.methods.logit_adjustment import log_prior
from longtail.methods.tau_norm import TauNormalisedClassifier
from longtail.training.post_hoc import PostHocHead


class NormalisedAdjustedClassifier(TauNormalisedClassifier):
    """Stage 1's class vectors, shortened, and their logits without a share of the prior."""

    log_prior: Tensor

    def __init__(self, classifier: nn.Linear, numbers: Mapping[str, float], log_prior: Tensor) -> None:
        """`log_prior`: log pi, [C]."""
        super().__init__(classifier, numbers)
        self.register_buffer("log_prior", log_prior.to(self.weight))

    def adjusted(self, features: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, C] of features [B, F] under `tau` and `adjustment`."""
        return super().adjusted(features, numbers) - numbers["adjustment"] * self.log_prior


class TauNormAdjustment(PostHocHead):
    """A choice of both numbers."""

    settings_model = Settings
    numbers = ("tau", "adjustment")

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's class vectors under both."""
        return NormalisedAdjustedClassifier(classifier, self.first, log_prior(self.task))


METHOD = TauNormAdjustment
