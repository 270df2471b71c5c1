"""What a benchmark fixes: its images, its splits, its network and its schedules.

A person's own choices (`params.yaml`) come on top; see `longtail.plans`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from longtail.errors import InputError


class Frozen(BaseModel):
    """An immutable record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Strict(Frozen):
    """A record that a person fills in: besides, text is no number and `yes` is not 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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


class Training(Frozen):
    """One training: how long, with what batches, optimiser and learning rate."""

    iterations: int
    batch_size: int
    meta_batch_size: int
    sampler: Literal["shuffled", "class_aware"]
    augment: str
    second_augment: str
    """Of the second view, for methods that use two."""
    momentum: float
    weight_decay: float
    nesterov: bool
    schedule: Steps | Cosine


class ShotThresholds(Frozen):
    """Training counts that part many-, medium- and few-shot classes.

    many: more than `many_above`; few: less than `few_below` ("kang", as in Kang et al., ICLR 2020), or at
    most `few_below` ("mislas", as in Zhong et al., CVPR 2021); medium: the rest.
    """

    many_above: float
    few_below: float


class Benchmark(Frozen):
    """A data set with a long tail, and how networks are trained on it."""

    name: str
    source: Literal["digits"]
    classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel, on the scale 0..1."""
    test_per_class: int
    meta_per_class: int
    n_max: int | None
    """Images of the largest class; None: as many as the smallest class of the source has."""
    groups: ShotThresholds
    network: str
    represent: Training
    retrain: Training


DIGITS_LT = Benchmark(
    name="digits-lt",
    source="digits",
    classes=10,
    image_shape=(8, 8, 1),
    mean=(0.3053,),
    std=(0.3759,),
    test_per_class=50,
    meta_per_class=10,
    n_max=None,
    groups=ShotThresholds(many_above=60, few_below=20),
    network="digits_resnet",
    represent=Training(
        iterations=150,
        batch_size=64,
        meta_batch_size=50,
        sampler="shuffled",
        augment="shift",
        second_augment="shift",
        momentum=0.9,
        weight_decay=5e-4,
        nesterov=False,
        schedule=Steps(start=0.1, peak=0.2, warmup=8, milestones=(75, 112)),
    ),
    retrain=Training(
        iterations=90,
        batch_size=64,
        meta_batch_size=50,
        sampler="class_aware",
        augment="shift",
        second_augment="shift",
        momentum=0.9,
        weight_decay=5e-4,
        nesterov=False,
        schedule=Cosine(peak=0.05),
    ),
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in (DIGITS_LT,)}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises InputError."""
    if name not in BENCHMARKS:
        raise InputError(f"benchmark '{name}': not known; valid: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
