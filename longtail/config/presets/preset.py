"""Presets: the settings of a method, and its named variants."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from longtail.config.records import Strict, source_of
from longtail.errors import InputError, first_complaint, found_value


def did_you_mean(word: str, valid: list[str]) -> str:
    """`did you mean 'x'?`, or the list of valid words if none is close."""
    # difflib takes the square of the length
    close = difflib.get_close_matches(word[:100], valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(valid)}" if valid else "it has no settings"


@dataclass(frozen=True)
class Passes:
    """What an iteration costs, in passes through the network per image of the batch and of the meta batch.

    A forward pass counts 1, a backward pass 2, and so does a derivative along a direction that reuses the
    forward pass (docs/performance.md).
    """

    batch: float
    meta: float = 0.0


PLAIN = Passes(batch=3)
FROZEN = Passes(batch=1)
"""A head: there is no backward pass through the network."""
LOOK_AHEAD = Passes(batch=7, meta=3)
"""Weights learned through one inner step."""


class NoSettings(Strict):
    """A method without settings."""


class HeadSettings(Strict):
    """What all methods that retrain a classifier have."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set, or the last."""


class TrainedHeadSettings(HeadSettings):
    """What those have that train something."""

    batch_norm: Literal["frozen", "training"] = "frozen"
    """frozen: BatchNorm keeps the statistics of stage 1. training: it normalises by the batch, and its
    running statistics move; of a network with a new last block, in that block alone."""


HEAD_SOURCES = {"start": "Difficulty-Net's code, CIFAR: its checkpoint is the best on the held-out images"}
TRAINED_HEAD_SOURCES = {
    **HEAD_SOURCES,
    "batch_norm": "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment_stage2.py; Kang et al.'s and BALMS' "
    "trainers have training",
    "imagenet-lt.batch_norm places-lt.batch_norm": "Difficulty-Net's code, "
    "ImageNet_Places-LT/train_stage2.py",
}
BATCH_NORM = {"batch_norm": "training"}
"""Of heads on ImageNet-LT and Places-LT."""


@dataclass(frozen=True)
class Preset:
    """The settings of a method.

    `benchmarks` has the values that differ from the defaults, by benchmark; `imbalances` those that also
    depend on the imbalance, each from that imbalance up; `variants` names what the tables run, with the
    settings that each fixes. `sources` says where each value comes from (see `source_of`): a
    default by its name, a benchmark's own value as `digits-lt.alpha`, a change of the training as
    `training.sampler` or `places-lt.training.augment`.
    """

    name: str
    stage: Literal["represent", "retrain"]
    summary: str
    settings: type[Strict] = NoSettings
    benchmarks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    imbalances: Mapping[str, Mapping[float, Mapping[str, Any]]] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    benchmark_variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """What variants fix beside that on one benchmark: by benchmark and variant."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What this method changes in the benchmark's `Training`, such as its sampler."""
    benchmark_training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it changes there on one benchmark alone."""
    sources: Mapping[str, str] = field(default_factory=dict)
    passes: Callable[[Mapping[str, Any]], Passes] | None = None
    """The cost of an iteration by the method's settings; None: `PLAIN`, or `FROZEN` for a head."""
    remark: Callable[[Mapping[str, Any], Sequence[int]], str | None] | None = None
    """What the user must know of these settings on classes of these training counts [C]; None: nothing."""

    @property
    def keys(self) -> list[str]:
        """The settings that the user can change in the method's own section of `params.yaml`."""
        names = [info.alias or name for name, info in self.settings.model_fields.items()]
        return [name for name in names if name != "lambda"]  # lambda is at the top level

    @property
    def uses_lambda(self) -> bool:
        """Whether Eq. 8's lambda is a setting of this method."""
        return any(info.alias == "lambda" for info in self.settings.model_fields.values())

    def training_on(self, benchmark: str) -> dict[str, Any]:
        """What the method changes in the `Training` of `benchmark`."""
        return {**self.training, **self.benchmark_training.get(benchmark, {})}

    def overridden(self, benchmark: str) -> set[str]:
        """The settings whose value on `benchmark` is not the default."""
        layers = (self.benchmarks.get(benchmark, {}), *self.imbalances.get(benchmark, {}).values())
        return {name for layer in layers for name in layer}

    def provenance(self, benchmark: str, setting: str) -> str | None:
        """Where the value of `setting` on `benchmark` comes from."""
        own = f"{benchmark}.{setting}" if setting in self.overridden(benchmark) else setting
        return source_of({own}, self.sources)

    def image_passes(self, settings: Mapping[str, Any], batch: int, meta: int) -> float:
        """Passes of single images per iteration, for batches of `batch` and meta batches of `meta` images."""
        usual = PLAIN if self.stage == "represent" else FROZEN
        cost = usual if self.passes is None else self.passes(settings)
        return cost.batch * batch + cost.meta * meta

    def check(self, section: Mapping[str, Any], where: str) -> None:
        """Raise InputError if `section` (of `params.yaml`) has an unknown key or a bad value."""
        for key in section:
            if key == "lambda" and self.uses_lambda:
                raise InputError(f"{where}.lambda", "lambda belongs at the top level", "move it there")
            if key not in self.keys:
                known = did_you_mean(str(key), self.keys)
                raise InputError(where, f"unknown key {found_value(str(key))}", known)
        try:
            self.settings.model_validate(dict(section))
        except ValidationError as error:
            key, complaint = first_complaint(error)
            raise InputError(f"{where}.{key}" if key else where, complaint) from None

    def resolve(
        self, variant: str, benchmark: str, imbalance: float, section: Mapping[str, Any], lambda_: float
    ) -> dict[str, Any]:
        """All settings of `variant`: defaults, the benchmark's, those of the imbalance, the user's section,
        the variant's own."""
        top = {"lambda": lambda_} if self.uses_lambda else {}
        starts = self.imbalances.get(benchmark, {})
        own = starts.get(max((start for start in starts if start <= imbalance), default=0.0), {})
        fixed = {**self.variants[variant], **self.benchmark_variants.get(benchmark, {}).get(variant, {})}
        layers = {**self.benchmarks.get(benchmark, {}), **own, **top, **section, **fixed}
        return self.settings.model_validate(layers).model_dump(by_alias=True)
