"""Post-hoc logit adjustment (Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021, Sec. 4.1).

    z'_c = z_c - tau log pi_c,   pi_c = n_c / N

A network trained on long-tailed images estimates p(c | x), which is in proportion to p(x | c) pi_c. Where all
classes count alike, the best guess is the class of the largest p(x | c): tau = 1 divides the prior out of the
logits z. Nothing is trained: tau comes from a grid, 0 to 2 in steps of 0.1, by accuracy on the meta set, the
smallest of equally good ones.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from longtail.config.presets.logit_adjustment import Settings
from longtail.networks.adjusted import AdjustedClassifier
from longtail.training.method import Task
from longtail.training.post_hoc import PostHocHead


def log_prior(task: Task) -> Tensor:
    """log pi_c as float64 [C], where the counts are: a head is made before it goes to its device."""
    counts = task.counts.double()
    return (counts / counts.sum()).log()


class PriorAdjustedClassifier(AdjustedClassifier):
    """Stage 1's logits without a share of the prior."""

    log_prior: Tensor

    def __init__(self, classifier: nn.Linear, numbers: Mapping[str, float], log_prior: Tensor) -> None:
        """`log_prior`: log pi, [C]."""
        super().__init__(classifier, numbers)
        self.register_buffer("log_prior", log_prior.to(self.weight))

    def adjusted(self, features: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, C] of features [B, F] under `tau`."""
        return self.logits(features) - numbers["tau"] * self.log_prior


class LogitAdjustment(PostHocHead):
    """A choice of tau."""

    settings_model = Settings
    numbers = ("tau",)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's classifier with adjusted logits."""
        return PriorAdjustedClassifier(classifier, self.first, log_prior(self.task))


METHOD = LogitAdjustment
