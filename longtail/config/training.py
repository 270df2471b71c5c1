"""What decides a training beside its images, network and method: length, batches, optimiser, schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from longtail.config.records import Frozen


class Steps(Frozen):
    """Linear warm-up, then a constant learning rate, multiplied by `factor` at each milestone.

    `warmup` and `milestones` count iterations. The paper's CIFAR-100-LT schedule has this form: 0.1 to 0.2
    over 400 iterations, then x0.1 at 6,400 and at 9,600 of 12,800 (Tan et al., CVPR 2020).
    """

    kind: Literal["steps"] = "steps"
    start: float
    peak: float
    warmup: int
    milestones: tuple[int, ...]
    factor: float = 0.1


class Cosine(Frozen):
    """Half a cosine from `peak` to 0, one value per epoch: peak/2 (1 + cos(pi e/E))."""

    kind: Literal["cosine"] = "cosine"
    peak: float


LARGEST_BATCH = 65_536
"""Images per batch; some samplers repeat images to fill the last one."""


class Training(Frozen):
    """One training: length, batches, optimiser, learning rate."""

    iterations: int = Field(ge=1)
    batch_size: int = Field(ge=1, le=LARGEST_BATCH)
    meta_batch_size: int = Field(ge=1, le=LARGEST_BATCH)
    sampler: Literal["shuffled", "class_aware", "class_aware_short"]
    augment: str
    second_augment: str
    """Augmentation of the second view, for methods that use two."""
    momentum: float = 0.9
    weight_decay: float
    nesterov: bool = False
    schedule: Steps | Cosine
    backbone_rate: float = 1.0
    """Learning rate of the `backbone` relative to the rest; 0 freezes it."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Of convolutions and matrix products; see `longtail.training.precision`."""


def scaled(training: Training, factor: float) -> Training:
    """`training` with every length multiplied by `factor`, at least one iteration long."""

    def length(iterations: int) -> int:
        return round(iterations * factor)

    schedule: Steps | Cosine = training.schedule
    if isinstance(schedule, Steps):
        schedule = schedule.model_copy(
            update={
                "warmup": length(schedule.warmup),
                "milestones": tuple(length(milestone) for milestone in schedule.milestones),
            }
        )
    return training.model_copy(
        update={"iterations": max(1, length(training.iterations)), "schedule": schedule}
    )
