"""What methods share whose weights come from a network that is trained through a look-ahead step."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.meta.meta_gradient import MetaGradient, meta_loss, weight_gradient, weighted_backward
from longtail.meta.tangents import Forward
from longtail.training.method import Batch, Method, StepInfo


class LearnedWeights(Method):
    """A method with a network `net` of parameters theta, its optimiser, and the accuracies it may read."""

    uses_meta_batch = True
    replayable = True
    net: Any
    """The network."""
    optimiser: Any
    """Of theta: `Adam` or `SGD`."""
    accuracy: Tensor
    """On the meta set, [C]."""

    def step_theta(
        self, forward: Forward, losses: Tensor, batch: Batch, meta: Batch, info: StepInfo
    ) -> dict[str, Tensor]:
        """Look ahead and take one step on theta; return scalars for the history. `losses` [B] with graph."""
        raise NotImplementedError

    def meta_criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L_meta, a scalar, of the logits [M, C] and labels [M] of a meta batch."""
        return F.cross_entropy(logits, labels)

    def look_ahead(
        self, forward: Forward, losses: Tensor, weights: Tensor, batch: Batch, meta: Batch, info: StepInfo
    ) -> MetaGradient:
        """dL_meta/dw for the weights [B] of one inner step of the model."""
        return weight_gradient(
            forward,
            losses,
            weights,
            lambda logits: self.sample_losses(batch.whole(logits), batch.labels, info),
            meta_loss(
                forward.model,
                meta.images,
                meta.labels,
                lambda logits, labels: self.meta_criterion(meta.whole(logits), labels),
            ),
            info.learning_rate,
            rates=info.rates,
            summed=batch.ranks.summed,
        )

    def batch_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """The weights [B] of images with these losses [B] and labels [B]."""
        raise NotImplementedError

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The step on theta, and the gradient of the weighted loss for phi with the new weights."""
        assert meta is not None, "learned weights need a meta batch"
        forward = Forward(model, batch.images)
        losses = self.sample_losses(batch.whole(forward.logits), batch.labels, info)
        scalars = self.step_theta(forward, losses, batch, meta, info)
        with torch.no_grad():
            weights = self.batch_weights(losses, batch.labels)
        return {"train_loss": weighted_backward(losses, weights), **scalars}

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
