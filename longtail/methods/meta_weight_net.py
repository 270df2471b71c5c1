"""Meta-Weight-Net (Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping", NeurIPS 2019).

    w_i = V(l_i; theta),   w^_i = w_i / sum_j w_j,   loss = sum_i w^_i l_i,   l = cross-entropy

V has one input, one hidden layer with ReLU, a sigmoid, and biases. Each iteration:

1. look ahead:  phi_hat = phi - alpha grad sum_i w^_i l_i(phi)
2. theta:       SGD on L_meta(phi_hat(theta)), one meta batch
3. phi:         SGD on sum_i w^_i l_i(phi), weights of the new theta without gradient

In the authors' class-imbalance release the weights of step 1 depend on phi too, through V's input; in
their noisy-label release they do not (`detach_input`). With J(l, theta) = sum_i w^_i l_i, step 1 moves phi
along sum_i c_i grad l_i, c_i = dJ/dl_i, whichever network gave the losses; so
dL_meta/dtheta = sum_i (dc_i/dtheta) dL_meta/dc_i, and `longtail.meta.meta_gradient` gives the last factor.
Detached, c = w^. Only V, a function of one number, is differentiated twice.

`level: class` is Difficulty-Net's Table 4 #4, "CDB-CE + MWN", in our reading: the paper does not define it.
d_c = V(a_c) of the class's own accuracy on the meta set, w_c = C d_c / sum d, loss = (1/B) sum_i w_{y_i} l_i.

Where settings come from: `longtail/config/presets/meta_weight_net.py`. The release divides by the sum of
weights, guarding against zero; here the quotient is a softmax of log V, the same function, which needs no
guard.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.meta_weight_net import Settings
from longtail.meta.meta_gradient import through_weights
from longtail.meta.tangents import Forward
from longtail.randomness import global_draws
from longtail.training.learned_weights import LearnedWeights
from longtail.training.method import Batch, StepInfo, Task
from longtail.training.optimisers import SGD

MOMENTUM = 0.9
"""Of Nesterov's SGD on theta."""


class MetaWeightNet(LearnedWeights):
    """Weights of images (or classes), a learned function of one number."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.meta_batches = self.settings.meta_batches
        hidden = self.settings.hidden
        with global_draws(task.seed, "meta_weight_net"):
            net = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.net = net.to(task.device)
        self.theta = list(self.net.parameters())
        self.optimiser = SGD(self.theta, MOMENTUM, self.settings.weight_decay, nesterov=True)
        self.accuracy = torch.zeros(task.classes, device=task.device)

    def log_v(self, values: Tensor) -> Tensor:
        """log V, [K], of losses or accuracies [K]."""
        return F.logsigmoid(self.net(values[:, None])[:, 0])

    def normalised(self, values: Tensor) -> Tensor:
        """K V / sum V, [K], so that their mean is 1, of losses or accuracies [K]."""
        return values.numel() * torch.softmax(self.log_v(values), dim=0)

    def sample_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """B w^_i (or w_{y_i}), [B], of losses [B] and labels [B]; without a way back to phi."""
        if self.settings.level == "class":
            return self.normalised(self.accuracy)[labels]
        return self.normalised(losses.detach())

    def step_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """B c_i, [B]: how much of each image's gradient the inner step takes, with the graph of theta."""
        if self.settings.level == "class" or self.settings.detach_input:
            return self.sample_weights(losses, labels)
        values = losses.detach().requires_grad_()
        loss = torch.dot(self.normalised(values), values)
        return torch.autograd.grad(loss, values, create_graph=True)[0]

    def batch_weights(self, losses: Tensor, labels: Tensor) -> Tensor:
        """`sample_weights`."""
        return self.sample_weights(losses, labels)

    def step_theta(
        self, forward: Forward, losses: Tensor, batch: Batch, meta: Batch, info: StepInfo
    ) -> dict[str, Tensor]:
        """Steps 1 and 2."""
        factors = self.step_weights(losses, batch.labels)
        ahead = self.look_ahead(forward, losses, factors, batch, meta, info)
        gradient = through_weights(factors, self.theta, ahead.sample_weights)
        for parameter, value in zip(self.theta, batch.ranks.first(gradient), strict=True):
            parameter.grad = value
        self.optimiser.step(self.settings.learning_rate)
        return {"meta_loss": ahead.loss, "grad_norm_meta": torch.nn.utils.get_total_norm(gradient)}

    @torch.no_grad()
    def difficulty(self) -> Tensor | None:
        """d_c = V(a_c), [C], at class level."""
        return self.log_v(self.accuracy).exp() if self.settings.level == "class" else None

    @torch.no_grad()
    def weights(self) -> Tensor | None:
        """w_c = C d_c / sum d, [C], at class level."""
        return self.normalised(self.accuracy) if self.settings.level == "class" else None


METHOD = MetaWeightNet
