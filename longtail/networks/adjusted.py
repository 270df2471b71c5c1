"""Stage 1's classifier under a few numbers: heads in which nothing is trained."""

from collections.abc import Mapping

from torch import Tensor, nn

from longtail.networks.heads import FixedClassifier


class AdjustedClassifier(FixedClassifier):
    """Stage 1's classifier; its logits depend on `numbers`, which are buffers."""

    def __init__(self, classifier: nn.Linear, numbers: Mapping[str, float]) -> None:
        super().__init__(classifier)
        self.names = tuple(numbers)
        for name, value in numbers.items():
            self.register_buffer(name, self.weight.new_tensor(value))

    def adjusted(self, features: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, C] of features [B, F] under `numbers`, scalars."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        return self.adjusted(features, {name: self.get_buffer(name) for name in self.names})
