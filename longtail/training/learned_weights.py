"""What methods share whose weights come from a network that is trained through a look-ahead step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from longtail.training.method import Method


class LearnedWeights(Method):
    """A method with a network `net` of parameters theta, its optimiser, and the accuracies it may read."""

    uses_meta_batch = True
    replayable = True
    net: nn.Module
    optimiser: Any
    """Of theta: `Adam` or `SGD`."""
    accuracy: Tensor
    """On the meta set, [C]."""

    def refresh(self, accuracy: Tensor) -> None:
        """Receive the accuracies [C] on the meta set."""
        self.accuracy.copy_(accuracy)

    def state(self) -> dict[str, Any]:
        """theta, the state of its optimiser, and the accuracies."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state(),
            "accuracy": self.accuracy.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state(state["optimiser"])
        self.accuracy.copy_(state["accuracy"])
