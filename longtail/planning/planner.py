"""From params.yaml to the plans of all cells, evaluations and tables."""

import hashlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from longtail.config.benchmarks import Benchmark
from longtail.config.layouts import read_layouts
from longtail.config.params import Params
from longtail.config.presets import VARIANTS
from longtail.config.training import scaled
from longtail.errors import InputError
from longtail.planning.code import evaluation_code, training_code
from longtail.planning.epochs import network_training
from longtail.planning.fingerprints import recipe
from longtail.planning.plans import (
    HEADS,
    BundleMembers,
    BundlePlan,
    EvaluationPlan,
    Head,
    Member,
    ShotGroupsPlan,
    TablesPlan,
    bundle_name,
)


def remarks(plan: BundlePlan, counts: Sequence[int] | None) -> list[str]:
    """What the user must know of the settings of a bundle, for training counts [C]; None: not known yet."""
    heads = {name: head.settings for name, head in plan.heads.items()}
    chosen = heads or {plan.variant: plan.settings}
    texts = [
        (name, remark(settings, counts))
        for name, settings in chosen.items()
        if counts is not None and (remark := VARIANTS[name].remark)
    ]
    return [f"imbalance {plan.imbalance:g}, {name}: {text}" for name, text in texts if text]


def plan_bundles(benchmark: Benchmark, params: Params) -> list[BundlePlan]:
    """The bundles of all tables and figures: for every imbalance, network and variant, the networks and then
    the heads on their features."""
    imbalances = params.imbalances_of(benchmark.name)
    settings = {
        (variant, imbalance): preset.resolve(
            variant, benchmark.name, imbalance, params.methods.get(preset.name, {}), params.lambda_
        )
        for variant, preset in VARIANTS.items()
        for imbalance in imbalances
    }
    retraining = {
        head: scaled(
            benchmark.retrain.model_copy(
                update={**preset.training_on(benchmark.name), "precision": params.schedule.precision}
            ),
            params.schedule.fraction,
        )
        for head, preset in VARIANTS.items()
        if preset.stage == "retrain"
    }
    from_files = benchmark.source == "listed"
    pretrained = weights_digest(params.weights_file(benchmark.name)) if benchmark.pretrained else None
    bundles = []
    needed = read_layouts().of(benchmark.name).needed()
    if params.variants is not None:
        chosen = {variant: heads for variant, heads in needed.items() if variant in params.variants}
        if not chosen:
            raise InputError(
                "params.yaml",
                f"variants: {benchmark.name} has no table or figure with {', '.join(params.variants)}",
                f"choose from {', '.join(needed)}",
            )
        needed = chosen
    networks = {imbalance: network_training(benchmark, imbalance, params) for imbalance in imbalances}
    for imbalance, network in product(imbalances, benchmark.networks):
        for variant, retrained in needed.items():
            plan = BundlePlan(
                benchmark=benchmark.name,
                imbalance=imbalance,
                bundle=bundle_name(benchmark, network, variant),
                stage="represent",
                variant=variant,
                method=VARIANTS[variant].name,
                settings=settings[variant, imbalance],
                network=network,
                pretrained=pretrained,
                mean=benchmark.mean,
                std=benchmark.std,
                training=networks[imbalance].model_copy(update=VARIANTS[variant].training_on(benchmark.name)),
                code=training_code(VARIANTS[variant].name, network, from_files),
                heads={},
                seeds=params.seeds,
            )
            bundles.append(plan)
            heads = {
                head: Head(
                    settings=settings[head, imbalance],
                    training=retraining[head],
                    code=training_code(VARIANTS[head].name, network, from_files),
                )
                for head in retrained
            }
            if heads:
                changes = {"bundle": plan.bundle + HEADS, "stage": "retrain", "heads": heads}
                bundles.append(plan.model_copy(update=changes))
    return bundles


def weights_digest(path: Path) -> str:
    """Hex sha256 of a file of weights. Raises InputError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(path, error.strerror, "expected the weights of a backbone") from None


def plan_shot_groups(benchmark: Benchmark, params: Params) -> ShotGroupsPlan:
    """The benchmark's thresholds under the convention that the user chose. Raises InputError."""
    if params.shot_groups == "mislas_ranges" and benchmark.name != "cifar100-lt":
        raise InputError(
            "params.yaml",
            f"shot_groups: mislas_ranges are the classes of cifar100-lt, not of {benchmark.name}",
            "choose kang or mislas",
        )
    return ShotGroupsPlan(convention=params.shot_groups, **benchmark.groups.model_dump())


def _members(plan: BundlePlan) -> BundleMembers:
    return BundleMembers(
        imbalance=plan.imbalance,
        bundle=plan.bundle,
        variant=plan.variant,
        members=[
            Member(member=cell.member, head=cell.head, seed=cell.seed, recipe=recipe(plan, cell))
            for cell in plan.cells()
        ],
    )


def plan_evaluations(
    benchmark: Benchmark, params: Params, bundles: Sequence[BundlePlan]
) -> list[EvaluationPlan]:
    """What decides the evaluation of `bundles`, apart from predictions: one plan for each imbalance."""
    return [
        EvaluationPlan(
            benchmark=benchmark.name,
            imbalance=imbalance,
            groups=plan_shot_groups(benchmark, params),
            code=evaluation_code(),
            bundles=[_members(plan) for plan in bundles if plan.imbalance == imbalance],
        )
        for imbalance in params.imbalances_of(benchmark.name)
    ]


def plan_tables(benchmark: Benchmark, params: Params, bundles: Sequence[BundlePlan]) -> TablesPlan:
    """What tables and figures show: the cells of `bundles`."""
    schedule, own = params.schedule, benchmark.represent
    length, full = schedule.length or own.iterations, scaled(own, schedule.fraction)
    return TablesPlan(
        benchmark=benchmark.name,
        imbalances=params.imbalances_of(benchmark.name),
        seeds=params.seeds,
        schedule_fraction=schedule.fraction,
        length=None if (length, schedule.unit) == (own.iterations, "iterations") else length,
        unit=schedule.unit,
        batch_size=None if schedule.batch_size == own.batch_size else schedule.batch_size,
        full_length=min(plan.training.iterations for plan in bundles) >= full.iterations,
        precision=params.schedule.precision,
        networks=list(benchmark.networks),
        groups=plan_shot_groups(benchmark, params),
        bundles=[_members(plan) for plan in bundles],
    )
