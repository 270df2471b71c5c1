"""A fingerprint changes with everything that decides a result, and with nothing else."""

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params
from longtail.config.presets import METHODS
from longtail.config.training import Cosine, Steps
from longtail.networks import NETWORKS
from longtail.planning import code
from longtail.planning.code import LIBRARY, code_digest, imports, training_code
from longtail.planning.fingerprints import differences, digest, fingerprint, fingerprint_facts
from longtail.planning.planner import plan_bundles
from longtail.planning.plans import BundlePlan, Cell

MANIFESTS = {"train": "a" * 64, "meta": "b" * 64, "pool": "c" * 64}
BUNDLES = ["cross_entropy", "balanced_softmax", "difficulty_net", "difficulty_net-heads"]


def bundle(name: str, **changes: Any) -> BundlePlan:
    imbalances = {"digits-lt": [50.0]}
    params = Params.model_validate({"lambda": 0.25, "imbalances": imbalances, "seeds": [1, 2], **changes})
    return next(plan for plan in plan_bundles(DIGITS_LT, params) if plan.bundle == name)


def marks(plan: BundlePlan, manifests: dict[str, str] | None = None) -> dict[str, str]:
    return {cell.member: fingerprint(plan, cell, manifests or MANIFESTS) for cell in plan.cells()}


def all_differ(one: dict[str, str], other: dict[str, str]) -> bool:
    assert one.keys() == other.keys()
    return all(one[member] != other[member] for member in one)


@pytest.mark.parametrize("name", BUNDLES)
def test_cells_of_a_bundle_differ_and_their_fingerprints_are_sha256(name: str) -> None:
    found = marks(bundle(name))
    assert len(set(found.values())) == len(found) == (16 if name.endswith("heads") else 2)
    assert all(len(mark) == 64 and int(mark, 16) >= 0 for mark in found.values())
    assert marks(bundle(name)) == found


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("which", MANIFESTS)
def test_each_manifest_counts(name: str, which: str) -> None:
    plan = bundle(name)
    assert all_differ(marks(plan), marks(plan, {**MANIFESTS, which: "d" * 64}))


@pytest.mark.parametrize("name", BUNDLES)
def test_the_number_of_ranks_counts_if_it_is_more_than_one(name: str) -> None:
    plan = bundle(name)
    cell = plan.cells()[0]
    several = plan.model_copy(update={"ranks": 8})
    facts = fingerprint_facts(plan, cell, MANIFESTS)
    assert fingerprint_facts(several, cell, MANIFESTS) == {**facts, "ranks": 8}
    assert "ranks" not in facts
    assert several.model_dump(mode="json") == plan.model_dump(mode="json")  # not in the file
    above = plan.model_copy(update={"features_ranks": 8})
    if cell.head is None:
        assert fingerprint_facts(above, cell, MANIFESTS) == facts
    else:  # only its features were trained by several
        features = {**facts["features"], "ranks": 8}
        assert fingerprint_facts(above, cell, MANIFESTS) == {**facts, "features": features}
        assert fingerprint_facts(above, cell.below, MANIFESTS) == features


CHANGES: list[dict[str, Any]] = [
    {"benchmark": "other-lt"},
    {"imbalance": 49.0},
    {"network": "resnet32"},
    {"mean": (0.5,)},
    {"std": (0.5,)},
]


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_plans_own_fields_count(name: str, change: dict[str, Any]) -> None:
    plan = bundle(name)
    assert all_differ(marks(plan), marks(plan.model_copy(update=change)))


def other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else 0.125


@pytest.mark.parametrize("name", BUNDLES)
def test_every_setting_counts(name: str) -> None:
    plan = bundle(name)
    for setting, value in plan.settings.items():
        if setting == "loss":  # names a file: another valid one
            changed = plan.model_copy(update={"settings": {**plan.settings, "loss": "balanced_softmax"}})
        else:
            changed = plan.model_copy(update={"settings": {**plan.settings, setting: other_value(value)}})
        assert all_differ(marks(plan), marks(changed)), setting


def test_every_setting_of_a_head_counts_for_that_head_alone() -> None:
    plan = bundle("difficulty_net-heads")
    settings = [(head, key) for head in plan.heads for key in plan.heads[head].settings]
    assert len(settings) >= 6
    for head, key in settings:
        before = plan.heads[head]
        after = before.model_copy(
            update={"settings": {**before.settings, key: other_value(before.settings[key])}}
        )
        changed = plan.model_copy(update={"heads": {**plan.heads, head: after}})
        one, other = marks(plan), marks(changed)
        assert {member.split("-")[0] for member in one if one[member] != other[member]} == {head}, key


TRAININGS: dict[str, Any] = {
    "iterations": 7,
    "batch_size": 63,
    "meta_batch_size": 49,
    "sampler": "class_aware",
    "augment": "none",
    "second_augment": "none",
    "momentum": 0.8,
    "weight_decay": 1e-4,
    "nesterov": True,
    "schedule": Cosine(peak=0.2),
    "backbone_rate": 0.1,
    "precision": "bf16",
}


def test_every_field_of_the_training_counts() -> None:
    plan = bundle("cross_entropy")
    assert set(TRAININGS) == set(type(plan.training).model_fields)
    steps = plan.training.schedule
    assert isinstance(steps, Steps)
    schedules = [
        steps.model_copy(update={field: value})
        for field, value in {
            "start": 0.3,
            "peak": 0.3,
            "warmup": 9,
            "milestones": (1,),
            "factor": 0.5,
        }.items()
    ]
    assert len(schedules) == len(Steps.model_fields) - 1  # but `kind`
    updates = [{field: value} for field, value in TRAININGS.items()]
    updates += [{"schedule": schedule} for schedule in schedules]
    found = [marks(plan)]
    for update in updates:
        found.append(marks(plan.model_copy(update={"training": plan.training.model_copy(update=update)})))
    assert len({mark for one in found for mark in one.values()}) == 2 * len(found)


def test_heads_hang_on_the_features_below_and_features_not_on_heads() -> None:
    plan = bundle("difficulty_net-heads")
    changed = plan.model_copy(update={"settings": {**plan.settings, "hidden": 7}})
    assert all_differ(marks(plan), marks(changed))
    below = plan.model_copy(update={"stage": "represent", "bundle": "difficulty_net"})
    heads_changed = below.model_copy(update={"heads": {}})
    assert marks(below) == marks(heads_changed) == marks(bundle("difficulty_net"))


@pytest.mark.parametrize("name", BUNDLES)
def test_lambda_touches_only_what_uses_it(name: str) -> None:
    one, other = marks(bundle(name)), marks(bundle(name, **{"lambda": 0.75}))
    assert all_differ(one, other) if name.startswith("difficulty_net") else one == other


def test_a_swept_lambda_does_not_follow_the_parameter() -> None:
    name = "difficulty_net_lambda_0.6"
    assert marks(bundle(name)) == marks(bundle(name, **{"lambda": 0.75}))


def test_the_name_of_a_variant_does_not_count_where_its_settings_are_equal() -> None:
    one, other = bundle("difficulty_net", **{"lambda": 0.6}), bundle("difficulty_net_lambda_0.6")
    assert marks(one) == marks(other)


def test_other_seeds_and_the_order_of_seeds_do_not_count() -> None:
    one, other = bundle("cross_entropy"), bundle("cross_entropy", seeds=[5, 2])
    assert marks(one)["seed2"] == marks(other)["seed2"]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the library's files, which fingerprints then look at."""
    copy = tmp_path / "longtail"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "LIBRARY", copy)
    code.read_module.cache_clear()
    return copy


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    code.read_module.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(library: Path) -> None:
    names = [path.relative_to(library) for path in sorted(library.rglob("*.py"))]
    before = {name: marks(bundle(name)) for name in BUNDLES}
    for name in names:
        path = library / name
        tree = ast.parse(path.read_text())
        text = path.read_text().replace("    # ", "    # changed ")
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                documented = ast.get_docstring(node, clean=False)
                if documented:
                    text = text.replace(documented, "Another text.", 1)
        path.write_text(f"{text}\n\n\n# the end\n")
        assert path.read_text() != (LIBRARY / name).read_text()
    code.read_module.cache_clear()
    assert {name: marks(bundle(name)) for name in BUNDLES} == before


@pytest.mark.parametrize(
    "name",
    [
        "training/trainer.py",
        "training/augment/batch.py",
        "meta/tangents.py",
        "randomness.py",
        "running/cells.py",
    ],
)
def test_code_that_decides_a_training_counts(name: str, library: Path) -> None:
    before = marks(bundle("cross_entropy"))
    path = library / name
    path.write_text(path.read_text() + "\nchanged = 1\n")
    code.read_module.cache_clear()
    assert all_differ(before, marks(bundle("cross_entropy")))


def test_a_changed_number_operator_or_order_in_the_code_counts(library: Path) -> None:
    path = library / "meta" / "difficulty.py"
    digests = {code_digest(path)}
    edit(path, "1 - accuracy", "2 - accuracy")
    digests.add(code_digest(path))
    edit(path, "2 - accuracy", "accuracy - 2")
    digests.add(code_digest(path))
    edit(path, "accuracy - 2", "accuracy + 2")
    digests.add(code_digest(path))
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("file", "touched"),
    [
        ("methods/cross_entropy.py", {"cross_entropy"}),
        ("methods/balanced_softmax.py", {"balanced_softmax", "difficulty_net", "difficulty_net-heads"}),
        ("methods/difficulty_net.py", {"difficulty_net", "difficulty_net-heads"}),
        ("methods/las.py", {"difficulty_net-heads"}),
        ("networks/heads.py", {"difficulty_net-heads"}),
        ("reporting/tables.py", set()),
        ("config/presets/las.py", set()),
    ],
)
def test_the_code_of_a_method_touches_its_own_cells(file: str, touched: set[str], library: Path) -> None:
    before = {name: marks(bundle(name)) for name in BUNDLES}
    path = library / file
    path.write_text(path.read_text() + "\nchanged = 1\n")
    code.read_module.cache_clear()
    assert {name for name in BUNDLES if marks(bundle(name)) != before[name]} == touched


def test_a_balanced_difficulty_net_hangs_on_the_code_of_balanced_softmax(library: Path) -> None:
    before = marks(bundle("difficulty_net_balanced_softmax"))
    edit(library / "methods" / "balanced_softmax.py", "logits + log_counts", "logits - log_counts")
    assert all_differ(before, marks(bundle("difficulty_net_balanced_softmax")))


def test_images_that_stay_files_count_their_decoding_and_others_do_not() -> None:
    arrays, files = (set(training_code("focal", "resnet10", from_files)) for from_files in (False, True))
    own = {f"training/from_files/{name}.py" for name in ("decoders", "file_images", "photographs")}
    assert arrays < files
    assert files - arrays == own | {"data/image_files.py"}


NOT_CODE = {
    "config/": "its values are in the plan",
    "data/": "counted by the fingerprints of pool and manifests",
    "networks/": "counted from the network's and the method's own files on; weights are counted by content",
    "planning/": "its values are in the plan, or are the fingerprint",
    "running/": "hands images, states and results on",
    "errors.py": "messages",
    "files.py": "writes and reads files",
    "parquet_files.py": "writes and reads files",
}
"""Rooms that a training imports, and why they do not decide it."""


def test_no_module_that_training_imports_is_forgotten() -> None:
    methods = [f"methods/{name}.py" for name in METHODS]  # imported by name, as networks are
    networks = [f"networks/{network.module}.py" for network in NETWORKS.values()]
    waiting, seen = ["running/cells.py", *methods, *networks], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports(LIBRARY / name)
    counted = {
        name for method in METHODS for network in NETWORKS for name in training_code(method, network, True)
    }
    assert {name for name in seen - counted if not name.startswith(tuple(NOT_CODE))} == set()
    assert {place for place in NOT_CODE if not any(name.startswith(place) for name in seen)} == set()


def test_a_cell_is_not_a_bundle() -> None:
    plan = bundle("cross_entropy")
    cell = plan.cells()[0]
    other = Cell(cell.benchmark, cell.imbalance, cell.bundle, cell.variant, cell.head, 99)
    assert fingerprint(plan, cell, MANIFESTS) != fingerprint(plan, other, MANIFESTS)


def test_what_differs_between_two_trainings_is_named() -> None:
    plan = bundle("difficulty_net")
    cell = plan.cells()[0]
    here = fingerprint_facts(plan, cell, MANIFESTS)
    assert digest(here) == fingerprint(plan, cell, MANIFESTS)
    assert differences(here, here) == []
    assert differences(fingerprint_facts(plan, plan.cells()[1], MANIFESTS), here) == ["seed 2 there, 1 here"]
    settings = {**plan.settings, "lambda": 0.6}
    other = fingerprint_facts(plan.model_copy(update={"settings": settings}), cell, MANIFESTS)
    assert differences(other, here) == ["settings.lambda 0.6 there, 0.25 here"]
    code = {**plan.code, "methods/difficulty_net.py": "0" * 64}
    other = fingerprint_facts(plan.model_copy(update={"code": code}), cell, {**MANIFESTS, "meta": "x" * 64})
    assert differences(other, here) == [
        "the images of meta changed",
        "longtail/methods/difficulty_net.py changed",
    ]
    training = plan.training.model_copy(update={"iterations": 7})
    other = fingerprint_facts(plan.model_copy(update={"training": training}), cell, MANIFESTS)
    assert differences(other, here) == [f"training.iterations 7 there, {plan.training.iterations} here"]


def test_what_differs_in_the_features_of_a_head_is_named_too() -> None:
    plan = bundle("difficulty_net-heads")
    cell = plan.cells()[0]
    settings = {**plan.settings, "lambda": 0.6}
    other = fingerprint_facts(plan.model_copy(update={"settings": settings}), cell, MANIFESTS)
    here = fingerprint_facts(plan, cell, MANIFESTS)
    assert differences(other, here) == ["features.settings.lambda 0.6 there, 0.25 here"]
    assert differences({}, here)[0] == "benchmark nothing there, digits-lt here"
