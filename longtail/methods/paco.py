"""PaCo, parametric contrastive learning: supervised contrast in which class centres take part.

An image is an anchor; one softmax runs over the C learnable centres and over all other images available:

    s = [ z_1 .. z_C (+ log pi_c),  q.k / T for k in the batch's queries, its keys and the queue, q excluded ]
    l = - sum_j m_j log softmax(s)_j / sum_j m_j,   m_j = 1 on the own centre, alpha on images of its class

Jiequan Cui, Zhisheng Zhong, Shu Liu, Bei Yu and Jiaya Jia, "Parametric Contrastive Learning", ICCV 2021. The
logits z are those of the network's own linear classifier, whose rows are the centres, on the backbone's
feature. q and k are unit vectors from a projection (Linear, BatchNorm, ReLU, Linear): q of the first view, k
of the second, by a copy of backbone and projection that follows with a momentum. At test the logits are plain
z. `balanced` adds the log of the prior, which is the row "PaCo + Bal. Softmax".

Defaults are those of the release for CIFAR-100-LT, whose beta and gamma, both 1, are left out. Its queue
begins with random vectors and labels; here entries not yet filled take no part.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.config.presets.paco import Settings
from longtail.methods.balanced_softmax import log_counts
from longtail.networks.cosine import CosineClassifier
from longtail.randomness import global_draws
from longtail.training.method import Batch, Method, StepInfo, Task


def paco_losses(
    logits: Tensor, queries: Tensor, others: Tensor, labels: Tensor, alpha: float, temperature: float
) -> Tensor:
    """Losses l [B] of anchors with centre logits [B, C] (with log pi where it is wanted) and queries [B, D].

    Queries are contrast for each other; `others` [M, D] are keys and queue, M may be 0. `labels` are those of
    the queries and then of the others, [B + M].
    """
    same = (labels[: len(queries), None] == labels).to(logits.dtype).fill_diagonal_(0)
    itself = torch.zeros_like(same, dtype=torch.bool).fill_diagonal_(True)
    similarities = queries @ torch.cat([queries, others]).T / temperature
    everything = torch.cat([logits, similarities.masked_fill(itself, -torch.inf)], dim=1)
    own = logits.gather(1, labels[: len(queries), None]).squeeze(1)
    attained = (own + alpha * (same * similarities).sum(1)) / (1 + alpha * same.sum(1))
    return torch.logsumexp(everything, dim=1) - attained


class Projection(nn.Sequential):
    """From features [B, F] to unit vectors [B, D]."""

    def __init__(self, width: int, dim: int) -> None:
        last = nn.Linear(width, dim)
        nn.init.kaiming_normal_(last.weight)
        super().__init__(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] to [B, D]."""
        if features.shape[0] == 1:  # refused by BatchNorm, whose statistics are those of two equal rows
            return self(features.expand(2, -1))[:1]
        return F.normalize(super().forward(features), dim=1)


class PaCo(Method):
    """Two views, a momentum encoder and a queue of its keys; the network itself stays as it is."""

    uses_second_view = True
    projection: Projection
    encoder: nn.Module
    """The momentum copy, from images to keys; only its parameters follow, BatchNorm has its own batches."""

    def __init__(self, settings: dict[str, Any], task: Task) -> None:
        super().__init__(settings, task)
        self.settings = Settings.model_validate(settings)
        self.log_prior = F.log_softmax(log_counts(task), dim=0)
        self.queue = torch.zeros(self.settings.queue, self.settings.dim, device=task.device)
        self.queue_labels = torch.zeros(self.settings.queue, dtype=torch.int64, device=task.device)
        self.enqueued = 0

    def adapt(self, network: nn.Module) -> nn.Module:
        """`network`, its classifier drawn again; projection and momentum encoder are made for it.

        As in the release for CIFAR the centres start as torch's linear layers do, the last layer of the
        projection Kaiming-normal. The weights of a cosine classifier have no scale and stay.
        """
        classifier = network.classifier
        assert isinstance(classifier, nn.Linear)
        with global_draws(self.task.seed, "paco_projection"):
            projection = Projection(classifier.in_features, self.settings.dim)
            if not isinstance(classifier, CosineClassifier):
                classifier.reset_parameters()
        self.projection = projection.to(self.task.device, classifier.weight.dtype)
        encoder = copy.deepcopy(network).to(self.task.device)
        encoder.classifier = copy.deepcopy(self.projection)
        self.encoder = encoder.requires_grad_(False).train()
        self.queue = self.queue.to(classifier.weight.dtype)
        return network

    def parameters(self) -> list[Tensor]:
        """Those of the projection."""
        return list(self.projection.parameters())

    def backward(
        self, model: nn.Module, batch: Batch, meta: Batch | None, info: StepInfo
    ) -> dict[str, Tensor]:
        """The gradient of the mean loss of the first view's images."""
        assert batch.second_view is not None, "PaCo needs a second view"
        self._follow(model)
        with torch.no_grad():
            features = self.encoder.features(batch.second_view)  # type: ignore[operator]
            keys = batch.whole(self.encoder.classifier(features))  # type: ignore[operator]
        features = model.features(batch.images)  # type: ignore[operator]
        logits = batch.whole(model.classifier(features))  # type: ignore[operator]
        if self.settings.balanced:
            logits = logits + self.log_prior.to(logits.dtype)
        queries = batch.whole(self.projection(features))
        filled = min(self.enqueued, self.settings.queue)
        others = torch.cat([keys, self.queue[:filled]])
        labels = torch.cat([batch.labels, batch.labels, self.queue_labels[:filled]])
        losses = paco_losses(logits, queries, others, labels, self.settings.alpha, self.settings.temperature)
        loss = losses.mean()
        loss.backward()
        self._enqueue(keys, batch.labels)
        return {"train_loss": loss.detach()}

    @torch.no_grad()
    def _follow(self, model: nn.Module) -> None:
        """Move the momentum encoder towards the model and the projection."""
        now: dict[str, Tensor] = dict(model.named_parameters())
        now |= {f"classifier.{name}": value for name, value in self.projection.named_parameters()}
        names, slow = zip(*self.encoder.named_parameters(), strict=True)
        fast = [now[name] for name in names]
        torch._foreach_lerp_(slow, fast, 1 - self.settings.momentum)  # pyright: ignore[reportPrivateImportUsage]

    def _enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """Put keys [B, D] in the place of the oldest."""
        size = self.settings.queue
        keys, labels = keys[-size:], labels[-size:]
        places = torch.arange(self.enqueued, self.enqueued + len(labels), device=labels.device) % size
        self.queue[places], self.queue_labels[places] = keys, labels
        self.enqueued += len(labels)

    def state(self) -> dict[str, Any]:
        """Projection, momentum encoder, queue.

        Without the running statistics of their BatchNorm: both always take those of the batch.
        """
        modules = {
            name: {key: value.detach() for key, value in module.named_parameters()}
            for name, module in (("projection", self.projection), ("encoder", self.encoder))
        }
        return {**modules, "queue": self.queue, "queue_labels": self.queue_labels, "enqueued": self.enqueued}

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, module in (("projection", self.projection), ("encoder", self.encoder)):
            for key, value in module.named_parameters():
                value.copy_(state[name][key])
        self.queue.copy_(state["queue"])
        self.queue_labels.copy_(state["queue_labels"])
        self.enqueued = state["enqueued"]


METHOD = PaCo
