"""No image that a training sees, or chooses by, is one that it is tested on; each report has the proof."""

import hashlib
import inspect
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtail.config.presets import METHODS
from longtail.data.manifests import Manifest, draw_meta, draw_train, write_manifest
from longtail.data.pools import Pool, draw_pool
from longtail.data.source import image_hash
from longtail.data.sources import Source
from longtail.errors import InputError
from longtail.methods import find_method
from longtail.pipeline import paths
from longtail.running import cells
from longtail.running.cell_folders import read_cell
from longtail.running.jobs import CellInputs
from longtail.training.choices import Choice, best_of
from longtail.training.post_hoc import ChoosingHead
from tests.support import report_fixtures as fixtures
from tests.support import trained_cells
from tests.support.stage_runs import run_stage

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\nschedule: {fraction: 0.02}\n"
INPUTS = trained_cells.inputs()


def with_images_of(manifest: Manifest, pool: Pool, rows: np.ndarray) -> Manifest:
    """`manifest` and some more images of the pool."""
    columns = {
        name: np.append(getattr(manifest, name), getattr(pool, name)[rows])
        for name in ("image", "label", "hash")
    }
    return replace(manifest, **columns)


def leaking(what: str) -> tuple[Manifest, Manifest]:
    """Training and meta set, one of which has images of another set."""
    pool, train, meta = INPUTS.pool, INPUTS.train, INPUTS.meta
    test = pool.rows("test")[:3]
    if what == "training and test":
        return with_images_of(train, pool, test), meta
    if what == "meta and test":
        return train, with_images_of(meta, pool, test)
    return train, with_images_of(meta, pool, np.flatnonzero(np.isin(pool.hash, train.hash))[:3])


@pytest.mark.parametrize("what", ["training and meta", "training and test", "meta and test"])
def test_images_of_a_training_that_are_not_disjoint_cannot_be_put_together(what: str) -> None:
    train, meta = leaking(what)
    with pytest.raises(InputError, match=f"{what} set: 3 images in common"):
        replace(INPUTS, train=train, meta=meta)


def test_there_is_no_other_way_into_a_training() -> None:
    """What takes images at all takes the inputs whose making is the proof."""
    for function in (cells.train_cell, cells.build_trainer):
        parameters = inspect.signature(function).parameters
        assert parameters["inputs"].annotation == CellInputs.__name__
        assert not {"images", "pool", "train", "meta"} & set(parameters)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits-LT at imbalance 50, nothing trained."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "params.yaml").write_text(PARAMS)
    for command in ("plan", "prepare", "subsample 50", "extract_meta 50"):
        ran = run_stage(folder, *command.split())
        assert ran.code == 0, ran.stderr
    return folder


@pytest.mark.parametrize("stage", ["represent", "retrain"])
def test_a_meta_set_with_training_images_stops_the_stage_before_anything_is_trained(
    prepared: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that is whole by itself, as when someone makes one by other means."""
    trained: list[str] = []
    monkeypatch.setattr("longtail.pipeline.scheduler.train", lambda *_, **__: trained.append("trained"))
    monkeypatch.setattr("longtail.pipeline.bundles.make_job", lambda *_: trained.append("asked for"))
    path = prepared / paths.meta_manifest("digits-lt", 50)
    before = path.read_bytes()
    pool = INPUTS.pool
    monkeypatch.chdir(prepared)
    from longtail.data.pools import read_pool

    stored = read_pool(paths.pool("digits-lt"))
    assert stored.fingerprint == pool.fingerprint
    write_manifest(path, replace(draw_train(stored, 50, trained_cells.COUNTS, 10), kind="meta"))
    ran = run_stage(prepared, stage, "50", "cross_entropy")
    path.write_bytes(before)
    assert ran.code == 2
    assert "training and meta set: 314 images in common" in ran.stderr
    assert trained == []
    assert not (prepared / "models").exists()


def by_hand(hashes: list[str]) -> dict[str, Any]:
    """A set's entry in the proof."""
    return {"images": len(hashes), "sha256": hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()}


@pytest.mark.parametrize("head", [None, "tau_norm"])
def test_a_cell_records_the_proof_and_the_images_themselves_bear_it_out(
    tmp_path: Path, head: str | None
) -> None:
    folder = trained_cells.train(tmp_path, "cross_entropy", iterations=2)
    if head:
        folder = trained_cells.train(tmp_path, "cross_entropy", head, iterations=2)
    proof = json.loads((folder / "cell.json").read_text())["disjoint"]
    rows = {
        "train": INPUTS.train.image,
        "meta": INPUTS.meta.image,
        "test": INPUTS.pool.image[INPUTS.pool.rows("test")],
    }
    images = INPUTS.images
    assert not isinstance(images, Path)
    contents = {name: [image_hash(images[row]) for row in part] for name, part in rows.items()}
    assert proof == {**{name: by_hand(hashes) for name, hashes in contents.items()}, "shared": 0}
    assert not set(contents["train"]) & set(contents["meta"])
    assert not (set(contents["train"]) | set(contents["meta"])) & set(contents["test"])


CHOOSING = [name for name in METHODS if issubclass(find_method(name), ChoosingHead)]


def shuffled(label: np.ndarray) -> np.ndarray:
    return label[np.random.default_rng(1).permutation(len(label))]


@pytest.mark.parametrize("head", CHOOSING)
def test_test_labels_reach_neither_a_choice_nor_a_prediction_and_meta_labels_do(
    tmp_path: Path, head: str
) -> None:
    trained_cells.train(tmp_path, "cross_entropy", iterations=30)

    def choice_and_logits(images: CellInputs) -> tuple[Choice, bytes, bytes]:
        folder = trained_cells.train(tmp_path, "cross_entropy", head, iterations=4, images=images)
        choice, table = read_cell(folder).choice, pq.read_table(folder / "predictions.parquet")
        assert choice is not None
        logits = pickle.dumps(table["logits"].to_pylist())
        return choice, logits, (folder / "weights.safetensors").read_bytes()

    pool = INPUTS.pool
    test, label = pool.rows("test"), pool.label.copy()
    label[test] = shuffled(label[test])
    assert (label != pool.label).mean() > 0.2
    usual = choice_and_logits(INPUTS)
    assert choice_and_logits(replace(INPUTS, pool=replace(pool, label=label))) == usual
    meta = replace(INPUTS.meta, label=shuffled(INPUTS.meta.label))
    other = choice_and_logits(replace(INPUTS, meta=meta))
    assert other[0].grid == usual[0].grid
    assert max(other[0].meta_accuracy) < max(usual[0].meta_accuracy) - 0.2


def test_the_report_has_the_choice_of_the_cell(tmp_path: Path) -> None:
    plans = fixtures.build(tmp_path, fixtures.params((50,), (1,)), ("cross_entropy",))
    cell = tmp_path / paths.model("digits-lt", 50, "cross_entropy", "seed1") / "cell.json"
    grid = {"tau": [0.0, 0.5], "adjustment": [0.0, 0.25, 1.0]}
    right = best_of(grid, [1, 2, 3, 4, 6, 5], 8)
    choice = json.loads(json.dumps(right.model_dump(), sort_keys=True))
    cell.write_text(json.dumps({**json.loads(cell.read_text()), "choice": choice}))
    fixtures.evaluate(tmp_path, plans)
    report = json.loads((tmp_path / paths.cell_report("digits-lt", 50, "cross_entropy", "seed1")).read_text())
    assert report["choice"] == choice
    numbers, values = report["choice"]["numbers"], report["choice"]["grid"]
    again = [dict(zip(numbers, own, strict=True)) for own in product(*(values[name] for name in numbers))]
    best = report["choice"]["meta_accuracy"].index(6 / 8)
    assert again[best] == report["choice"]["chosen"] == {"tau": 0.5, "adjustment": 0.25}


def test_the_report_has_the_proof_of_the_cell_and_is_not_made_without(tmp_path: Path) -> None:
    plans = fixtures.build(tmp_path, fixtures.params((50,), (1,)), ("cross_entropy",))
    fixtures.evaluate(tmp_path, plans)
    place = ("digits-lt", 50, "cross_entropy", "seed1")
    cell, report = (
        tmp_path / paths.model(*place) / "cell.json",
        json.loads((tmp_path / paths.cell_report(*place)).read_text()),
    )
    facts = json.loads(cell.read_text())
    assert report["disjoint"] == facts["disjoint"]
    cell.write_text(json.dumps({name: value for name, value in facts.items() if name != "disjoint"}))
    ran = run_stage(tmp_path, "evaluate", "50")
    assert (ran.code, "disjoint: missing" in ran.stderr) == (2, True)


def source(contents: list[int], test: np.ndarray | None) -> Source:
    """Images of 2x2 pixels in three classes; equal numbers are equal images."""
    images = np.array(contents, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    label = np.arange(len(contents)) % 3
    return Source(images, label, ("a", "b", "c"), test, in_file_order=True)


def draws(keep: bool, drawn_by: Literal["content", "file_order"]) -> Callable[[list[int]], CellInputs]:
    """Sets as the stages draw them, with an official test part."""

    def inputs(contents: list[int]) -> CellInputs:
        test = np.arange(len(contents)) >= len(contents) - 6
        whole = source(contents, test)
        pool = draw_pool(
            whole,
            benchmark="x",
            data_seed=0,
            test_per_class=None,
            duplicates="keep" if keep else "exclude",
            drawn_by=drawn_by,
        )
        train, meta = draw_train(pool, 1, [1, 1, 1], 1), draw_meta(pool, 1, 1)
        return CellInputs(pool=pool, images=whole.images, train=train, meta=meta)

    return inputs


@pytest.mark.parametrize("drawn_by", ["content", "file_order"])
@pytest.mark.parametrize("keep", [False, True])
@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=21, max_size=40))
def test_however_images_repeat_the_sets_are_disjoint_or_what_they_share_was_asked_for(
    keep: bool, drawn_by: Literal["content", "file_order"], contents: list[int]
) -> None:
    found, refused = None, ""
    try:
        found = draws(keep, drawn_by)(contents)
    except InputError as error:
        refused = str(error)
    if found is None:  # a class whose images are all copies of others
        assert "images" in refused
        assert "in common" not in refused
        return
    train, meta = set(found.train.hash.tolist()), set(found.meta.hash.tolist())
    test = set(found.pool.hash[found.pool.rows("test")].tolist())
    assert not train & meta
    assert found.disjoint["shared"] == len((train | meta) & test)
    assert keep or found.disjoint["shared"] == 0
