"""Cells: files that depend on plan, seed and training images, and on nothing else."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params
from longtail.data.image_files import PixelRules
from longtail.data.manifests import draw_meta, draw_train
from longtail.data.pools import draw_pool
from longtail.data.sources import Source
from longtail.errors import InputError
from longtail.planning.fingerprints import fingerprint
from longtail.planning.planner import plan_bundles
from longtail.planning.plans import BundlePlan
from longtail.running.cell_folders import read_cell
from longtail.running.cells import train_cell
from longtail.running.checkpoints import Checkpoints
from longtail.running.jobs import CellInputs, Job

COUNTS = [10, 8, 6, 5, 4, 3, 2, 2, 1, 1]
WEIGHTS = ["weights.safetensors", "selected.safetensors", "history.parquet"]


@cache
def inputs() -> CellInputs:
    """Ten classes of made-up images."""
    draws = np.random.default_rng(0)
    labels = np.arange(300) % 10
    images = draws.integers(0, 120, (300, 8, 8, 1)) + 12 * labels[:, None, None, None]
    source = Source(images.astype(np.uint8), labels, tuple("abcdefghij"))
    pool = draw_pool(source, benchmark="digits-lt", data_seed=0, test_per_class=5)
    train, meta = draw_train(pool, 10, COUNTS, 3), draw_meta(pool, 10, 3)
    return CellInputs(pool=pool, images=source.images, train=train, meta=meta)


def array() -> np.ndarray:
    """The images of `inputs`."""
    images = inputs().images
    assert isinstance(images, np.ndarray)
    return images


def plan_of(bundle: str) -> BundlePlan:
    params = Params.model_validate(
        {"lambda": 0.3, "imbalances": {"digits-lt": [10]}, "seeds": [1], "schedule": {"fraction": 0.04}}
    )
    return next(plan for plan in plan_bundles(DIGITS_LT, params) if plan.bundle == bundle)


def job_of(bundle: str, features: Path | None = None, head: str | None = None, **changes: Any) -> Job:
    plan = plan_of(bundle)
    cell = next(cell for cell in plan.cells() if cell.head == head)
    return Job(plan, cell, fingerprint(plan, cell, inputs().fingerprints), features=features, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "timing.json"}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "seed1"
    train_cell(job_of("difficulty_net"), inputs(), folder)
    return folder


def test_a_cell_says_how_image_files_became_its_images_where_that_is_not_the_usual_way(
    features: Path, tmp_path: Path
) -> None:
    assert "pixel_rules" not in json.loads((features / "cell.json").read_text())
    rules = PixelRules(upright=False, bits=12)
    pool = replace(inputs().pool, rules=rules)
    train, meta = draw_train(pool, 10, COUNTS, 3), draw_meta(pool, 10, 3)
    train_cell(job_of("cross_entropy"), CellInputs(pool, array(), train, meta), tmp_path / "cell")
    assert read_cell(tmp_path / "cell").pixel_rules == rules
    assert json.loads((tmp_path / "cell/cell.json").read_text())["pixel_rules"] == {
        "upright": False,
        "bits": 12,
    }


def test_training_a_cell_twice_gives_the_same_files(features: Path, tmp_path: Path) -> None:
    train_cell(job_of("difficulty_net"), inputs(), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(features)
    assert set(contents(features)) == {*WEIGHTS, "predictions.parquet", "cell.json", "fingerprint.json"}
    assert json.loads((features / "timing.json").read_text())["seconds"] > 0


def test_a_cell_says_what_it_was_trained_on_and_with(features: Path) -> None:
    facts, job = read_cell(features), job_of("difficulty_net")
    three = inputs()
    manifests = {name: getattr(three, name).fingerprint for name in ("train", "meta", "pool")}
    assert facts.manifests == three.fingerprints == manifests
    assert len(set(manifests.values())) == 3
    assert (facts.counts, facts.class_names) == (COUNTS, list("abcdefghij"))
    assert (facts.fingerprint, facts.settings) == (job.fingerprint, job.settings)
    assert facts.iterations == job.training.iterations
    assert facts.training == job.training


@pytest.mark.parametrize("head", [None, "crt", "lws", "las"])
def test_test_images_cannot_influence_a_training(head: str | None, features: Path, tmp_path: Path) -> None:
    job = job_of("difficulty_net-heads", features, head) if head else job_of("difficulty_net")
    other = array().copy()
    test = inputs().pool.image[inputs().pool.rows("test")]
    other[test] = 255 - other[test]
    train_cell(job, inputs(), tmp_path / "one")
    train_cell(job, replace(inputs(), images=other), tmp_path / "other")
    one, changed = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert {name: one[name] for name in WEIGHTS} == {name: changed[name] for name in WEIGHTS}
    assert one["predictions.parquet"] != changed["predictions.parquet"]


@pytest.mark.parametrize("split", ["train", "meta"])
def test_training_and_meta_images_do_influence_it(split: str, features: Path, tmp_path: Path) -> None:
    other = array().copy()
    rows = getattr(inputs(), split).image
    other[rows] = 255 - other[rows]
    train_cell(job_of("difficulty_net"), replace(inputs(), images=other), tmp_path / "other")
    assert contents(tmp_path / "other")["weights.safetensors"] != contents(features)["weights.safetensors"]


def test_predictions_are_those_of_the_saved_weights_on_the_test_split(features: Path) -> None:
    from longtail.networks import build_network

    table = pq.read_table(features / "predictions.parquet")
    pool = inputs().pool
    rows = pool.rows("test")
    assert table["image"].to_pylist() == pool.image[rows].tolist()
    assert table["label"].to_pylist() == pool.label[rows].tolist()
    pixels = (array()[pool.image[rows]].transpose(0, 3, 1, 2) / 255 - DIGITS_LT.mean[0]) / DIGITS_LT.std[0]
    for column, file in (("logits", WEIGHTS[0]), ("logits_selected", WEIGHTS[1])):
        network = build_network("digits_resnet", 10, seed=9).eval()
        saved = load_file(features / file)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in saved.items()})
        with torch.no_grad():
            expected = network(torch.from_numpy(pixels).float())
        found = torch.tensor(table[column].to_pylist())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_the_cell_is_taken_up_and_another_cells_is_not(
    features: Path, tmp_path: Path
) -> None:
    from longtail.running.cells import build_trainer

    job = job_of("difficulty_net", checkpoint=tmp_path / "checkpoint.pt")
    assert job.checkpoint is not None
    half = build_trainer(job, inputs())
    for _ in half.iterations():
        if half.iteration == 4:
            break
    assert half.iteration == 4 < job.training.iterations
    for mark, taken in ((job.fingerprint, True), ("another", False)):
        state = half.state()
        state["seconds"] = 1e6  # shows whose sitting counts
        kept = Checkpoints(job.checkpoint, mark)
        kept.remove()
        kept.save(state)
        ticks: list[int] = []
        train_cell(job, inputs(), tmp_path / mark, ticks.append)
        assert contents(tmp_path / mark) == contents(features)
        assert (json.loads((tmp_path / mark / "timing.json").read_text())["seconds"] > 1e6) is taken
        assert ticks == [*range(4 if taken else 0, job.training.iterations + 1)]


def test_a_training_killed_between_checkpoints_goes_on_from_the_last(features: Path, tmp_path: Path) -> None:
    job = job_of("difficulty_net", checkpoint=tmp_path / "checkpoint.pt", checkpoint_seconds=0.0)
    ticks: list[int] = []

    def killed(iteration: int) -> None:
        ticks.append(iteration)
        if iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_cell(job, inputs(), tmp_path / "cell", killed)
    assert ticks[-1] == 5
    assert not (tmp_path / "cell").exists()
    train_cell(job, inputs(), tmp_path / "cell")
    assert contents(tmp_path / "cell") == contents(features)


def test_a_head_starts_from_the_weights_that_its_settings_name(features: Path, tmp_path: Path) -> None:
    from longtail.running.cells import build_trainer

    job = job_of("difficulty_net-heads", features, "lws")
    for start, file in (("last", WEIGHTS[0]), ("selected", WEIGHTS[1])):
        head = job.plan.heads["lws"].model_copy(update={"settings": {"start": start}})
        plan = job.plan.model_copy(update={"heads": {**job.plan.heads, "lws": head}})
        model = build_trainer(replace(job, plan=plan), inputs()).model
        saved = load_file(features / file)
        for name, value in model.network.state_dict().items():  # type: ignore[union-attr]
            np.testing.assert_array_equal(value.numpy(), saved[name])
    train_cell(job, inputs(), tmp_path / "lws")
    assert set(load_file(tmp_path / "lws" / WEIGHTS[0])) == {"weight", "bias", "scale"}
    facts = read_cell(tmp_path / "lws")
    assert facts.features == read_cell(features).fingerprint
    assert facts.fingerprint == job.fingerprint


def test_a_cell_that_is_missing_or_damaged_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such cell"):
        read_cell(tmp_path)
    for content in (b"{", b"\xff\xfe"):
        (tmp_path / "cell.json").write_bytes(content)
        with pytest.raises(InputError, match="not JSON"):
            read_cell(tmp_path)
