"""Plans: what each parameter touches, and files that come back as they were."""

import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
import yaml

from longtail.config.benchmarks import CIFAR100_LT, DIGITS_LT, IMAGENET_LT
from longtail.config.layouts import read_layouts
from longtail.config.params import UNWRITTEN, Params, read_params
from longtail.config.presets import METHODS, VARIANTS
from longtail.config.training import Steps
from longtail.errors import InputError
from longtail.planning.epochs import training_counts
from longtail.planning.planner import plan_bundles, plan_evaluations, plan_shot_groups, plan_tables, remarks
from longtail.planning.plans import read_bundle, read_evaluation, read_tables_plan, write_plan
from tests.support.stage_runs import ROOT

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())

NEEDED = read_layouts().needed()
HEADS = {f"{variant}-heads" for variant, heads in NEEDED.items() if heads}
ALL = set(NEEDED) | HEADS
CHOSEN = ("focal", "mixup", "mixup-heads")
"""The bundles of two variants."""
FOLLOW_LAMBDA = {  # all others fix it or have none
    "difficulty_net",
    "difficulty_net-heads",
    "difficulty_net_absolute",
    "difficulty_net_balanced_softmax",
    "difficulty_net_balanced_softmax_released",
    "difficulty_net_detached",
    "sample_difficulty_net",
}


def params_of(folder: Path, change: dict[str, Any] | None = None) -> Params:
    """The shipped parameters with a change, sections merged."""
    found = {**SHIPPED}
    for key, value in (change or {}).items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(found))
    return read_params(path)


def bundles(folder: Path, change: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Plans as their files hold them, by file name."""
    plans = plan_bundles(DIGITS_LT, params_of(folder, change))
    return {f"imb{plan.imbalance:g}-{plan.bundle}": plan.model_dump(mode="json") for plan in plans}


TOP: list[tuple[dict[str, Any], set[str]]] = [
    ({"lambda": 0.6}, FOLLOW_LAMBDA),
    ({"seeds": [1, 2]}, ALL),
    ({"schedule": {"fraction": 0.5}}, ALL),
    ({"schedule": {"length": 300}}, ALL),
    ({"schedule": {"length": 150, "batch_size": 64}}, set()),  # what the benchmark says itself
    ({"schedule": {"unit": "epochs"}}, ALL),
    ({"schedule": {"batch_size": 32}}, ALL),
    ({"data_seed": 1}, set()),  # touches the images, through their manifests
    ({"shot_groups": "mislas"}, set()),  # touches the reports, through a file of its own
    ({"imbalances": {"digits-lt": [10, 50]}}, set()),
    ({"images": {"cifar100-lt": "there"}}, set()),  # as data_seed
    ({"lists": {"places-lt": "there"}}, set()),
    ({"weights": {"places-lt": "there"}}, set()),
    ({"backbone": "frozen"}, set()),  # of another benchmark
    ({"duplicates": "keep"}, set()),
    ({"split": "file_order"}, set()),
    ({"meta_per_class": 5}, set()),
    ({"own": {"image_size": 16, "iterations": 100, "augment": "none"}}, set()),  # of another benchmark
]


@cache
def shipped_bundles() -> dict[str, dict[str, Any]]:
    with TemporaryDirectory() as folder:
        return bundles(Path(folder))


def changed_bundles(folder: Path, change: dict[str, Any]) -> set[str]:
    """The bundles whose plan `change` changes, the same at every imbalance."""
    before, after = shipped_bundles(), bundles(folder, change)
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    found = {name.split("-", 1)[1] for name in changed}
    assert changed == {f"imb{imbalance}-{bundle}" for imbalance in (50, 10) for bundle in found}
    return found


@pytest.mark.parametrize(("change", "touched"), TOP, ids=[str(change) for change, _ in TOP])
def test_a_parameter_changes_exactly_these_bundles(
    tmp_path: Path, change: dict[str, Any], touched: set[str]
) -> None:
    assert changed_bundles(tmp_path, change) == touched


def test_every_parameter_is_in_that_list() -> None:
    top = {info.alias or name for name, info in Params.model_fields.items()} - {*UNWRITTEN}
    assert {key for change, _ in TOP for key in change} | {"variants"} == top  # it has a test of its own


def another_value(method: str, key: str) -> Any:
    """A valid value of a setting, other than what the variants that do not fix it have on digits-LT."""
    preset = METHODS[method]
    free = [name for name, fixed in preset.variants.items() if key not in fixed]
    taken = [preset.resolve(name, "digits-lt", 50, {}, 0.3)[key] for name in free]
    info = next(i for name, i in preset.settings.model_fields.items() if key in (name, i.alias))
    words = [word for part in (info.annotation, *get_args(info.annotation)) for word in get_args(part)]
    for value in [*words, True, False, 0.0625, 0.8125, 7, 9]:
        try:
            preset.check({key: value}, where="here")
        except InputError:
            continue
        if value not in taken:
            return value
    raise AssertionError(f"no other value for {method}.{key}")


def touched_by(method: str, key: str) -> set[str]:
    """The bundles that a setting decides: variants of the method that do not fix it, and their heads."""
    own = {name for name, fixed in METHODS[method].variants.items() if key not in fixed}
    if METHODS[method].stage == "retrain":
        return {f"{variant}-heads" for variant, heads in NEEDED.items() if own & set(heads)}
    return own | {f"{variant}-heads" for variant in own if NEEDED[variant]}


@pytest.mark.parametrize(
    ("method", "key"), [(name, key) for name, preset in METHODS.items() for key in preset.keys]
)
def test_a_setting_changes_exactly_the_bundles_of_its_method(tmp_path: Path, method: str, key: str) -> None:
    change = {method: {key: another_value(method, key)}}
    assert changed_bundles(tmp_path, change) == touched_by(method, key)


def test_every_variant_fills_a_row_or_a_curve() -> None:
    heads = {head for heads in NEEDED.values() for head in heads}
    assert set(NEEDED) | heads == set(VARIANTS)


def test_a_new_imbalance_adds_its_bundles_and_leaves_the_others(tmp_path: Path) -> None:
    before, after = bundles(tmp_path), bundles(tmp_path, {"imbalances": {"digits-lt": [50, 10, 20]}})
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {f"imb20-{bundle}" for bundle in ALL}


def test_chosen_variants_keep_their_plans_and_heads_and_the_others_have_none(tmp_path: Path) -> None:
    before, after = bundles(tmp_path), bundles(tmp_path, {"variants": ["focal", "mixup"]})
    assert after == {f"imb{r}-{name}": before[f"imb{r}-{name}"] for r in (50, 10) for name in CHOSEN}


def test_variants_without_a_row_on_the_benchmark_are_refused(tmp_path: Path) -> None:
    params = params_of(tmp_path, {"variants": ["cdb_ce_concave"]})
    with pytest.raises(InputError, match=r"variants: imagenet-lt has no table .*cdb_ce_concave; choose from"):
        plan_bundles(IMAGENET_LT, params)


def test_cells_have_unique_names_and_heads_sit_on_their_features(tmp_path: Path) -> None:
    plans = plan_bundles(DIGITS_LT, params_of(tmp_path))
    cells = [cell for plan in plans for cell in plan.cells()]
    assert len({cell.name for cell in cells}) == len(cells)
    names = {cell.name for cell in cells}
    assert {
        "imb50-difficulty_net-seed1",
        "imb10-difficulty_net-crt-seed3",
        "imb50-cross_entropy-las-seed2",
    } <= names
    represented = {plan.bundle: plan for plan in plans if plan.imbalance == 50 and plan.stage == "represent"}
    for plan in plans:
        if plan.stage == "retrain" and plan.imbalance == 50:
            below = represented[plan.variant]
            assert (plan.settings, plan.training, plan.method) == (
                below.settings,
                below.training,
                below.method,
            )
            assert tuple(plan.heads) == NEEDED[plan.variant]


@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.001])
def test_the_fraction_shortens_everything_that_has_a_length(tmp_path: Path, fraction: float) -> None:
    whole = plan_bundles(DIGITS_LT, params_of(tmp_path))
    short = plan_bundles(DIGITS_LT, params_of(tmp_path, {"schedule": {"fraction": fraction}}))
    for long, brief in zip(whole, short, strict=True):
        pairs = [(long.training, brief.training)]
        pairs += [(head.training, brief.heads[name].training) for name, head in long.heads.items()]
        for before, after in pairs:
            assert after.iterations == max(1, round(before.iterations * fraction))
            kept = before.model_copy(update={"iterations": after.iterations, "schedule": after.schedule})
            assert kept == after
            if isinstance(before.schedule, Steps):
                assert isinstance(after.schedule, Steps)
                assert after.schedule.warmup == round(before.schedule.warmup * fraction)
                expected = tuple(round(milestone * fraction) for milestone in before.schedule.milestones)
                assert after.schedule.milestones == expected
                assert (after.schedule.start, after.schedule.peak) == (
                    before.schedule.start,
                    before.schedule.peak,
                )
            else:
                assert after.schedule == before.schedule


def test_settings_come_from_the_variant_then_the_person_then_the_benchmark_then_the_defaults() -> None:
    preset = METHODS["difficulty_net"]
    section = {"difficulty": "absolute", "loss": "cross_entropy", "hidden": 9}
    found = preset.resolve("difficulty_net_balanced_softmax", "digits-lt", 50, section, 0.7)
    assert found["loss"] == "balanced_softmax"
    assert (found["difficulty"], found["hidden"], found["lambda"]) == ("absolute", 9, 0.7)
    assert found["learning_rate"] == preset.benchmarks["digits-lt"]["learning_rate"]
    assert found["weight_decay"] == 1e-4
    elsewhere = preset.resolve("difficulty_net_lambda_0.6", "elsewhere", 50, {}, 0.7)
    assert (elsewhere["lambda"], elsewhere["hidden"], elsewhere["learning_rate"]) == (0.6, 128, 1e-5)


def test_every_plan_file_comes_back_as_it_was(tmp_path: Path) -> None:
    params = params_of(tmp_path)
    for plan in plan_bundles(DIGITS_LT, params):
        path = tmp_path / f"imb{plan.imbalance:g}" / plan.stage / f"{plan.bundle}.json"
        write_plan(path, plan)
        assert read_bundle(path) == plan
        first = path.read_bytes()
        write_plan(path, read_bundle(path))
        assert path.read_bytes() == first
    bundles = plan_bundles(DIGITS_LT, params)
    for plan, read in [
        *((plan, read_evaluation) for plan in plan_evaluations(DIGITS_LT, params, bundles)),
        (plan_tables(DIGITS_LT, params, bundles), read_tables_plan),
    ]:
        write_plan(tmp_path / "other.json", plan)
        assert read(tmp_path / "other.json") == plan


def test_the_plan_of_the_tables_names_every_cell_once(tmp_path: Path) -> None:
    params = params_of(tmp_path)
    bundles = plan_bundles(DIGITS_LT, params)
    tables = plan_tables(DIGITS_LT, params, bundles)
    named = [
        (bundle.imbalance, bundle.bundle, bundle.variant, member.member, member.head, member.seed)
        for bundle in tables.bundles
        for member in bundle.members
    ]
    cells = [cell for plan in bundles for cell in plan.cells()]
    evaluations = plan_evaluations(DIGITS_LT, params, bundles)
    assert [cell for plan in evaluations for cell in plan.cells()] == cells
    assert named == [(c.imbalance, c.bundle, c.variant, c.member, c.head, c.seed) for c in cells]
    assert {bundle.variant for bundle in tables.bundles} == set(NEEDED)
    assert (tables.seeds, tables.imbalances, tables.networks) == (
        [1, 2, 3, 4, 5],
        [50, 10],
        ["digits_resnet"],
    )


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    plan = plan_bundles(DIGITS_LT, params_of(tmp_path))[0]
    path = tmp_path / f"imb{plan.imbalance:g}" / plan.stage / f"{plan.bundle}.json"
    write_plan(path, plan)
    return path


def without(key: str) -> Any:
    return lambda found: {name: value for name, value in found.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (without("seeds"), "seeds: missing"),
        (lambda found: {**found, "extra": 1}, "extra: found 1"),
        (lambda found: {**found, "method": "magic"}, "method 'magic' is not known"),
        (lambda found: {**found, "imbalance": "fifty"}, "imbalance: found 'fifty'"),
        (lambda found: [found], "holds a list"),
        (lambda found: {**found, "bundle": "other"}, "the plan of other at imbalance"),
        (lambda found: {**found, "imbalance": 7}, "at imbalance 7"),
        (lambda found: {**found, "settings": {"x": 1}}, "x: found 1"),
        (lambda found: {**found, "std": [0.0]}, "std.0: found 0.0"),
        (lambda found: {**found, "training": {**found["training"], "batch_size": 0}}, "batch_size: found 0"),
        (lambda found: "cut {", "not JSON"),
    ],
)
def test_a_damaged_plan_gets_one_line_and_the_command_that_mends_it(
    planned: Path, damage, expected: str
) -> None:
    found = damage(json.loads(planned.read_text()))
    planned.write_text(found if isinstance(found, str) else json.dumps(found))
    with pytest.raises(InputError) as caught:
        read_bundle(planned)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{planned}: ")
    assert expected in message


def test_a_truncated_a_missing_and_a_binary_plan_are_refused(planned: Path) -> None:
    planned.write_bytes(planned.read_bytes()[:-40])
    with pytest.raises(InputError, match="not JSON"):
        read_bundle(planned)
    planned.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        read_bundle(planned)
    planned.unlink()
    with pytest.raises(InputError, match="no such plan"):
        read_bundle(planned)


def test_a_threshold_that_makes_no_class_rare_is_remarked(tmp_path: Path) -> None:
    params = params_of(tmp_path).model_copy(update={"methods": {"eql": {"threshold": 0.001}}})
    found = {
        plan.bundle: remarks(plan, training_counts(DIGITS_LT, plan.imbalance))
        for plan in plan_bundles(DIGITS_LT, params)
    }
    (text,) = found.pop("eql")
    assert re.match(r"imbalance \d+, eql: threshold 0.001 makes no class rare \(.* 0\.\d+ to 0\.\d+\)", text)
    assert set(map(tuple, found.values())) == {()}
    plan = next(plan for plan in plan_bundles(DIGITS_LT, params) if plan.bundle == "eql")
    assert remarks(plan, None) == []


def test_the_ranges_of_mislas_are_refused_where_classes_are_not_those_of_cifar_100(tmp_path: Path) -> None:
    params = params_of(tmp_path, {"shot_groups": "mislas_ranges"})
    assert plan_shot_groups(CIFAR100_LT, params).convention == "mislas_ranges"
    with pytest.raises(InputError, match="not of digits-lt; choose kang or mislas"):
        plan_shot_groups(DIGITS_LT, params)
