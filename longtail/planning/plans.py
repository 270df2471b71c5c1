"""Plans: everything that decides each cell, and what evaluation and tables read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from longtail.config.benchmarks import Benchmark, ShotConvention, ShotThresholds
from longtail.config.presets import METHODS
from longtail.config.presets.preset import did_you_mean
from longtail.config.records import Frozen
from longtail.config.training import Training
from longtail.errors import InputError, found_value, one_line
from longtail.files import read_object, write_json
from longtail.networks import NETWORKS
from longtail.planning.code import LIBRARY, code_digests

HEADS = "-heads"


def bundle_name(of: Benchmark | TablesPlan, network: str, variant: str) -> str:
    """The bundle of a variant's networks: the variant, after the network's name where there are several."""
    return variant if len(of.networks) == 1 else f"{network}-{variant}"


def represented(bundle: str) -> str:
    """The bundle of the features: that of the heads `bundle`, or itself."""
    return bundle.removesuffix(HEADS)


@dataclass(frozen=True)
class Cell:
    """One training with a place in the tables."""

    benchmark: str
    imbalance: float
    bundle: str
    variant: str
    head: str | None
    seed: int

    @property
    def member(self) -> str:
        """Its name within the bundle: `seed1`, `crt-seed1`."""
        return f"{self.head}-seed{self.seed}" if self.head else f"seed{self.seed}"

    @property
    def below(self) -> Cell:
        """The cell whose features a head uses."""
        return replace(self, bundle=represented(self.bundle), head=None)

    @property
    def name(self) -> str:
        """Its name within the benchmark: `imb50-difficulty_net-crt-seed1`."""
        return f"imb{self.imbalance:g}-{represented(self.bundle)}-{self.member}"


class Head(Frozen):
    """A classifier method for frozen features."""

    settings: dict[str, Any]
    training: Training
    code: dict[str, str]


class BundlePlan(Frozen):
    """Everything that decides the cells of one bundle, apart from the images.

    `represent` bundles have a method, its settings and a training; `retrain` bundles have heads, and the
    plan of the features below them.
    """

    benchmark: str
    imbalance: float
    bundle: str
    stage: Literal["represent", "retrain"]
    variant: str
    method: str
    settings: dict[str, Any]
    network: str
    pretrained: str | None = None
    """Hex sha256 of the file of weights that the backbone starts from."""
    mean: tuple[float, ...] = Field(min_length=1, max_length=3)
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=1, max_length=3)
    training: Training
    code: dict[str, str]
    """Digests of the modules that decide this training, by file; see `longtail.planning.code`."""
    heads: dict[str, Head]
    seeds: list[int]
    ranks: int = Field(default=1, ge=1, exclude=True)
    """Processes that train each cell together. Decided by torchrun, so not part of the file."""
    features_ranks: int = Field(default=1, ge=1, exclude=True)
    """Likewise, those that trained the features below heads."""

    def cells(self) -> list[Cell]:
        """The cells of this bundle, head by head, seed by seed."""
        heads = list(self.heads) if self.stage == "retrain" else [None]
        return [
            Cell(self.benchmark, self.imbalance, self.bundle, self.variant, head, seed)
            for head in heads
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class PlannedTraining:
    """A cell with the plan that decides it, and the fingerprint of its training."""

    plan: BundlePlan
    cell: Cell
    fingerprint: str

    @property
    def name(self) -> str:
        """The name of the cell."""
        return self.cell.name

    @property
    def method(self) -> str:
        """The method that trains: the head's, or the network's."""
        return self.cell.head or self.plan.method

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `method`."""
        return self.plan.heads[self.cell.head].settings if self.cell.head else self.plan.settings

    @property
    def training(self) -> Training:
        """The schedule."""
        return self.plan.heads[self.cell.head].training if self.cell.head else self.plan.training


class StagePlan(Frozen):
    """The bundles that `represent` or `retrain` trains at one imbalance; it can be none."""

    bundles: list[str]


class ShotGroupsPlan(Frozen):
    """How classes are grouped into many-, medium- and few-shot ones."""

    convention: ShotConvention
    many_above: float
    few_below: float

    @property
    def thresholds(self) -> ShotThresholds:
        """The numbers alone."""
        return ShotThresholds(many_above=self.many_above, few_below=self.few_below)


class Member(Frozen):
    """One cell of a `BundleMembers`. `recipe`: see `longtail.planning.fingerprints`."""

    member: str
    head: str | None
    seed: int
    recipe: str

    def cell(self, bundle: BundleMembers) -> str:
        """The name of the cell, as `Cell.name`."""
        return f"imb{bundle.imbalance:g}-{represented(bundle.bundle)}-{self.member}"


class BundleMembers(Frozen):
    """The cells of one bundle, as evaluation and tables name them."""

    imbalance: float
    bundle: str
    variant: str
    members: list[Member]


class EvaluationPlan(Frozen):
    """Everything that decides the evaluation of the cells at one imbalance, apart from their predictions."""

    benchmark: str
    imbalance: float
    groups: ShotGroupsPlan
    code: dict[str, str]
    bundles: list[BundleMembers]

    def cells(self, bundle: str | None = None) -> list[Cell]:
        """The planned cells of `bundle`, or of all. Raises InputError if no such bundle is planned."""
        named = [planned for planned in self.bundles if bundle in (None, planned.bundle)]
        if not named:
            planned = [planned.bundle for planned in self.bundles]
            raise InputError(f"bundle '{bundle}'", "not planned", did_you_mean(str(bundle), planned))
        return [
            Cell(self.benchmark, self.imbalance, one.bundle, one.variant, member.head, member.seed)
            for one in named
            for member in one.members
        ]


class TablesPlan(Frozen):
    """The cells that tables and figures are made of."""

    benchmark: str
    imbalances: list[float] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    schedule_fraction: float
    length: int | None = None
    """Of the networks' training, in `unit`s; None: the benchmark's own."""
    unit: Literal["iterations", "epochs"] = "iterations"
    batch_size: int | None = None
    """Of the networks' training; None: the benchmark's own."""
    full_length: bool = True
    """Before `schedule_fraction`, no network has fewer iterations than the benchmark's own."""
    precision: str
    networks: list[str] = Field(min_length=1)
    groups: ShotGroupsPlan
    bundles: list[BundleMembers] = Field(min_length=1)

    @property
    def shortened(self) -> bool:
        """Whether a training is shorter than the benchmark's own."""
        return self.schedule_fraction < 1 or not self.full_length

    @property
    def networks_trained(self) -> str:
        """How, if not as the benchmark says: `, networks trained for 180 epochs in batches of 512`."""
        length = "" if self.length is None else f" for {self.length} {self.unit}"
        batches = "" if self.batch_size is None else f" in batches of {self.batch_size}"
        return f", networks trained{length}{batches}" if length or batches else ""


def write_plan(path: Path, plan: Frozen) -> None:
    """Write any plan of this module as JSON."""
    write_json(path, plan.model_dump(mode="json"))


def _read(path: Path, model: type[Frozen]) -> Any:
    try:
        return model.model_validate(read_object(path, missing="no such plan"))
    except ValidationError as error:
        raise InputError(path, one_line(error)) from None


def read_bundle(path: Path) -> BundlePlan:
    """Read a bundle's plan, which has the name of its file. Raises InputError."""
    plan: BundlePlan = _read(path, BundlePlan)
    if (f"imb{plan.imbalance:g}", plan.stage, f"{plan.bundle}.json") != path.parts[-3:]:
        raise InputError(path, f"the plan of {plan.bundle} at imbalance {plan.imbalance:g}")
    if plan.network not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise InputError(path, f"network {found_value(plan.network)} is not known (valid: {known})")
    heads = {name: head.settings for name, head in plan.heads.items()}
    for name, settings in {plan.method: plan.settings, **heads}.items():
        if name not in METHODS:
            raise InputError(path, f"method '{name}' is not known")
        try:
            METHODS[name].settings.model_validate(settings)
        except ValidationError as error:
            raise InputError(path, f"{name}: {one_line(error)}") from None
    return plan


def read_stage(path: Path) -> StagePlan:
    """Read the names of the bundles of a stage. Raises InputError."""
    return _read(path, StagePlan)


def read_evaluation(path: Path) -> EvaluationPlan:
    """Read the plan of the evaluations at one imbalance. Raises InputError."""
    return _read(path, EvaluationPlan)


def check_code(path: Path, planned: Mapping[str, str]) -> None:
    """Raise InputError unless the code is the one that the plan at `path` was made for."""
    gone = [name for name in planned if not (LIBRARY / name).is_file()]
    if gone:
        raise InputError(path, f"there is no longtail/{gone[0]} any more")
    for name, digest in code_digests(planned).items():
        if digest != planned[name]:
            raise InputError(path, f"longtail/{name} has changed since")


def read_tables_plan(path: Path) -> TablesPlan:
    """Read the plan of tables and figures. Raises InputError."""
    return _read(path, TablesPlan)
