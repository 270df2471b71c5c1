"""Learnable weight scaling, LWS (Kang et al., ICLR 2020): logits (W h + b) * s, only s is trained.

Class-aware sampling (four images a class in a row), plain cross-entropy, s = 1 at first.
"""

from torch import nn

from longtail.networks.heads import ScaledClassifier
from longtail.training.method import Method


class LWS(Method):
    """Cross-entropy for one scale a class."""

    replayable = True

    def head(self, classifier: nn.Linear) -> nn.Module:
        """Stage 1's classifier, frozen, under trained scales."""
        return ScaledClassifier(classifier, train_classifier=False, train_scale=True)


METHOD = LWS
