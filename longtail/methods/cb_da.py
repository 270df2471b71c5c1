"""CB-DA: class-balanced weights plus a meta-learned term for every image (Jamal et al., CVPR 2020).

"Rethinking Class-Balanced Methods for Long-Tailed Visual Recognition from a Domain Adaptation Perspective".
Plain cross-entropy first; then, with w_c the class-balanced weights (`longtail.methods.class_balanced`) and
l_i = cross-entropy, each iteration:

1. look ahead:  phi_hat = phi - alpha grad sum_i (w_{y_i} + eps_i) l_i(phi)   at eps = 0
2. eps_i = -eta dL_meta(phi_hat)/deps_i, one meta batch
3. phi:         SGD on (1/B) sum_i (w_{y_i} + eps_i) l_i(phi)

As in the authors' release, the loss of step 1 is a sum and that of step 3 a mean, and eps is neither clipped
nor normalised. The gradient of step 2 is exact (`longtail.meta.meta_gradient`), as there, without its double
backward. Settings, defaults and where they come from: `longtail/config/presets/cb_da.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.cb_da import Settings
from longtail.meta.meta_gradient import meta_loss, weight_gradient
from longtail.meta.tangents import Forward
from longtail.methods.class_balanced import effective_number_weights
from longtail.training.method import Batch, Method, StepInfo, Task

if TYPE_CHECKING:
    from longtail.training.image_sets import ImageSet


class CBDA(Method):
    """Class-balanced weights, corrected image by image."""

    uses_meta_batch = True

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.meta_batches = self.settings.meta_batches
        self.class_weights = effective_number_weights(task.counts, self.settings.beta).to(task.device)
        self.adapting = False
        self.deciding = True
        self.knows_epochs = False

    def start_epoch(self, model: nn.Module, train: ImageSet, meta: ImageSet) -> None:
        """The next step decides for its whole epoch, as in the authors' release."""
        self.deciding = self.knows_epochs = True

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """Steps 1 and 2, and the gradient of step 3; before `start`, that of plain cross-entropy."""
        if self.deciding:  # every step, in a loop that never calls `start_epoch`
            self.adapting = info.progress >= self.settings.start
            self.deciding = not self.knows_epochs
        if not self.adapting:
            return super().backward(model, batch, meta, info)
        assert meta is not None, "CB-DA needs a meta batch"
        forward = Forward(model, batch.images)
        losses = self.sample_losses(batch.whole(forward.logits), batch.labels, info)
        weights = self.class_weights.to(losses.dtype)[batch.labels]
        ahead = weight_gradient(
            forward,
            losses,
            weights * losses.numel(),  # a sum over the batch, not a mean
            lambda logits: self.sample_losses(batch.whole(logits), batch.labels, info),
            meta_loss(
                model,
                meta.images,
                meta.labels,
                lambda logits, labels: F.cross_entropy(meta.whole(logits), labels),
            ),
            info.learning_rate,
            rates=info.rates,
            summed=batch.ranks.summed,
        )
        gradient = ahead.sample_weights * losses.numel()
        epsilon = -self.settings.epsilon_learning_rate * gradient
        loss = torch.dot(weights + epsilon, losses) / losses.numel()
        loss.backward()
        return {"train_loss": loss.detach(), "meta_loss": ahead.loss, "grad_norm_meta": gradient.norm()}

    def weights(self) -> Tensor:
        """w_c, [C]; ones in the epochs of plain cross-entropy."""
        return self.class_weights if self.adapting else torch.ones_like(self.class_weights)

    def state(self) -> dict[str, Any]:
        """The training's progress."""
        return {"adapting": self.adapting, "deciding": self.deciding, "knows_epochs": self.knows_epochs}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.adapting = state["adapting"]
        self.deciding, self.knows_epochs = state["deciding"], state["knows_epochs"]


METHOD = CBDA
