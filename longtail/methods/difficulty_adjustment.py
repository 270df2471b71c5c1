"""Difficulty-adjusted logits, this project's own head: difficulties in place of the prior.

    z'_c = z_c + tau log(d_c / (1 - d_c)),   d_c = 1 - a_c = (m_c - k_c + 1/2) / (m_c + 1)

a_c is the accuracy of stage 1 on the meta set: k_c of the m_c images of class c are right, and the halves
(Haldane) keep the log finite. Logit adjustment raises classes with few images; this raises the classes that
the network finds difficult, by the accuracies that Difficulty-Net reads.

Why log-odds: suppose the margin of an image of class c is m plus logistic noise. The odds of being right are
exp(m), and raising z_c by x multiplies them by exp(x). With all else unchanged, tau = 1 would then give every
class even odds; tau = 0 changes nothing. Equal accuracies do not make the best mean, since a class can be
difficult for reasons other than its number of images. So tau comes from a grid, 0 to 2 in steps of 0.1, by
accuracy on the meta set, the smallest of equally good ones. Nothing is trained.

D itself is not used: other features have none, and its weights belong beside the prior, not in its place (a
network trained with class weights w estimates probabilities in proportion to w_c pi_c p(x | c)).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from longtail.config.presets.difficulty_adjustment import Settings
from longtail.networks.adjusted import AdjustedClassifier
from longtail.training.post_hoc import PostHocHead


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """log(d_c / (1 - d_c)), float64 [C], of logits [N, C] and labels [N]; 0 for a class without an image."""
    classes = logits.shape[1]
    right = torch.bincount(labels[logits.argmax(dim=1) == labels], minlength=classes).double()
    wrong = torch.bincount(labels, minlength=classes) - right
    return torch.log((wrong + 0.5) / (right + 0.5))


class DifficultyAdjustedClassifier(AdjustedClassifier):
    """Stage 1's logits, raised where it is often wrong."""

    difficulty: Tensor
    """Log-odds, [C]; 0 until they are measured."""

    def __init__(self, classifier: nn.Linear, numbers: Mapping[str, float]) -> None:
        super().__init__(classifier, numbers)
        self.register_buffer("difficulty", torch.zeros_like(self.ones))

    def adjusted(self, features: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, C] of features [B, F] under `tau`."""
        return self.logits(features) + numbers["tau"] * self.difficulty


class DifficultyAdjustment(PostHocHead):
    """A choice of tau, after the difficulties are measured."""

    settings_model = Settings
    numbers = ("tau",)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's classifier with adjusted logits."""
        return DifficultyAdjustedClassifier(classifier, self.first)

    def measure(self, head: AdjustedClassifier, features: Tensor, labels: Tensor) -> None:
        """The difficulties, from stage 1's logits on the meta set."""
        head.get_buffer("difficulty").copy_(log_odds(head.logits(features), labels))


METHOD = DifficultyAdjustment
