"""Which images make a batch: a function of (seed, iteration) alone."""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from longtail.randomness import generator


class Sampler(Protocol):
    """Batches of image indices, in passes over the data ("epochs")."""

    batches_per_epoch: int

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration` (from 0)."""
        ...


class ShuffledSampler:
    """Every image once an epoch, in an order of its own each epoch; the last batch may be short."""

    def __init__(self, images: int, batch_size: int, seed: int, stream: str = "order") -> None:
        self.images, self.batch_size, self.seed, self.stream = images, batch_size, seed, stream
        self.batches_per_epoch = -(-images // batch_size)
        self._order = lru_cache(maxsize=2)(self._make_order)

    def _make_order(self, epoch: int) -> Tensor:
        return torch.randperm(self.images, generator=generator(self.seed, self.stream, epoch))

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration`."""
        epoch, position = divmod(iteration, self.batches_per_epoch)
        start = position * self.batch_size
        return self._order(epoch)[start : start + self.batch_size]


class DrawnSampler:
    """Images drawn again for each batch, none twice in one: always the first batch of a shuffled loader."""

    def __init__(self, images: int, batch_size: int, seed: int, stream: str) -> None:
        self.images, self.batch_size, self.seed, self.stream = images, batch_size, seed, stream
        self.batches_per_epoch = -(-images // batch_size)

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration`; all images where there are fewer than a batch."""
        draws = generator(self.seed, self.stream, iteration)
        return torch.randperm(self.images, generator=draws)[: self.batch_size]


class ClassAwareSampler:
    """Classes in turn, `per_class` images of each (Shen et al., ECCV 2016; Kang et al., ICLR 2020).

    Classes come in shuffled rounds; each class gives consecutive images of its own shuffled list, which
    is shuffled again when it is exhausted, so a small class repeats. An epoch is C * max n_c images long, as
    in the authors' code on CIFAR, and begins new lists; its last batch may be short.
    """

    def __init__(
        self,
        labels: Tensor,
        batch_size: int,
        seed: int,
        per_class: int = 4,
        stream: str = "class_aware_order",
    ) -> None:
        self.batch_size, self.seed, self.per_class, self.stream = batch_size, seed, per_class, stream
        self.classes = int(labels.max()) + 1
        self.members = [torch.nonzero(labels == c).flatten() for c in range(self.classes)]
        self.length = self.classes * max(members.numel() for members in self.members)
        self.batches_per_epoch = -(-self.length // batch_size)
        self._order = lru_cache(maxsize=2)(self._make_order)

    def _make_order(self, epoch: int) -> Tensor:
        draws = generator(self.seed, self.stream, epoch)
        rounds = -(-self.length // (self.classes * self.per_class))
        turns = torch.cat([torch.randperm(self.classes, generator=draws) for _ in range(rounds)])
        order = torch.empty(turns.numel(), self.per_class, dtype=torch.int64)
        for c, members in enumerate(self.members):
            needed = rounds * self.per_class
            shuffles = -(-needed // members.numel())
            cyclic = torch.cat(
                [members[torch.randperm(members.numel(), generator=draws)] for _ in range(shuffles)]
            )
            order[turns == c] = cyclic[:needed].view(rounds, self.per_class)
        return order.flatten()[: self.length]

    def batch(self, iteration: int) -> Tensor:
        """Indices int64 [B] of the batch of `iteration`."""
        epoch, position = divmod(iteration, self.batches_per_epoch)
        start = position * self.batch_size
        return self._order(epoch)[start : start + self.batch_size]


TOGETHER = 256
"""Images of a class that are shuffled together."""


class ShortClassAwareSampler(ClassAwareSampler):
    """`ClassAwareSampler` with epochs of one batch more than a pass over the images.

    As in the scripts of Difficulty-Net (and MiSLAS) for ImageNet-LT and Places-LT, an epoch does not begin
    the lists of images again, or the last images of a large class would hardly be shown: round r of the
    classes, counted from the start of the training, takes the images r * per_class .. of each class's endless
    list. So the order follows from (seed, epoch), and there is nothing to save.
    """

    def __init__(self, labels: Tensor, batch_size: int, seed: int) -> None:
        super().__init__(labels, batch_size, seed)
        self.batches_per_epoch = -(-labels.numel() // batch_size) + 1
        self.length = self.batches_per_epoch * batch_size

    def _make_order(self, epoch: int) -> Tensor:
        turns = -(-self.length // self.per_class)
        first, last = epoch * turns, (epoch + 1) * turns  # a class at each turn
        rounds = torch.arange(first // self.classes, -(-last // self.classes))
        drawn = [
            torch.randperm(self.classes, generator=generator(self.seed, self.stream, number))
            for number in rounds.tolist()
        ]
        start = first - int(rounds[0]) * self.classes
        classes = torch.cat(drawn)[start : start + turns]
        of_turn = torch.arange(first, last) // self.classes
        order = torch.empty(turns, self.per_class, dtype=torch.int64)
        for c in range(self.classes):
            mine = classes == c
            order[mine] = self._endless(
                c, of_turn[mine][:, None] * self.per_class + torch.arange(self.per_class)
            )
        return order.flatten()[: self.length]

    def _endless(self, c: int, positions: Tensor) -> Tensor:
        """The images of class `c` at these positions of its list, which is shuffled again at each end."""
        members = self.members[c]
        size = members.numel()
        together = max(
            1, TOGETHER // size
        )  # shuffles of one generator, which takes longer to make than to use
        found = torch.empty_like(positions)
        blocks = positions // (size * together)
        for block in blocks.unique().tolist():
            draws = generator(self.seed, f"{self.stream}_{c}", block)
            shuffles = torch.rand(together, size, generator=draws, dtype=torch.float64).argsort(dim=1)
            mine = blocks == block
            found[mine] = members[shuffles.flatten()[positions[mine] - block * size * together]]
        return found


def build_sampler(name: str, labels: Tensor, batch_size: int, seed: int) -> Sampler:
    """The sampler `name` over images with these labels [N]."""
    if name == "shuffled":
        return ShuffledSampler(labels.numel(), batch_size, seed)
    if name == "class_aware":
        return ClassAwareSampler(labels, batch_size, seed)
    if name == "class_aware_short":
        return ShortClassAwareSampler(labels, batch_size, seed)
    raise ValueError(f"sampler '{name}' is not known")
