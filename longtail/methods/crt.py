"""Classifier re-training, cRT (Kang et al., ICLR 2020): a new classifier on frozen features.

Class-aware sampling (four images a class in a row), plain cross-entropy. As published the classifier is
re-initialised; the authors of Difficulty-Net start from stage 1's (`classifier: copied`).
"""

from typing import Any

from torch import nn

from longtail.config.presets.crt import Settings
from longtail.networks.heads import ScaledClassifier, fresh
from longtail.randomness import global_draws
from longtail.training.method import Method, Task


class CRT(Method):
    """Cross-entropy for a new classifier."""

    replayable = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)

    def head(self, classifier: nn.Linear) -> nn.Module:
        """W and b are trained; the scales stay 1."""
        if self.settings.classifier == "fresh":
            with global_draws(self.task.seed, "head"):
                classifier = fresh(classifier)
        return ScaledClassifier(classifier, train_classifier=True, train_scale=False)


METHOD = CRT
