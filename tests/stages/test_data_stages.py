"""prepare, subsample and extract_meta as a person runs them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longtail.data.manifests import check_disjoint, draw_meta, read_manifest, write_manifest
from longtail.data.pools import read_images, read_pool
from longtail.pipeline import paths
from stages import prepare
from tests.support.data_stages import PARAMS, files
from tests.support.stage_runs import python, run_stage

BENCHMARK, CIFAR = "digits-lt", "cifar100-lt"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where all three stages were run."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "params.yaml").write_text(PARAMS + "data_seed: 0\n")
    for command in (["prepare"], ["subsample", "50"], ["extract_meta", "50"]):
        ran = run_stage(folder, *command)
        assert ran.code == 0, ran.stderr
        assert ran.stderr == ""
        lines = ran.stdout.splitlines()
        assert len(lines) == 2
        assert lines[1].startswith(f"{command[0]:<12} done: ")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the working folder."""
    for name, content in files(prepared).items():
        copy = tmp_path / Path(name).relative_to(prepared)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stages_make_the_data_set(folder: Path) -> None:
    pool = read_pool(paths.pool(BENCHMARK))
    assert len(pool.rows("source")) == 1297
    assert np.bincount(pool.label[pool.rows("test")]).tolist() == [50] * 10
    assert read_images(paths.images(BENCHMARK), pool).shape == (1797, 8, 8, 1)
    train = read_manifest(paths.train_manifest(BENCHMARK, 50), "train", pool, 50)
    meta = read_manifest(paths.meta_manifest(BENCHMARK, 50), "meta", pool, 50)
    assert train.counts == [114, 73, 47, 30, 20, 12, 8, 5, 3, 2]
    assert meta.counts == [10] * 10
    check_disjoint(train.hash, meta.hash, pool.hash[pool.rows("test")])


def test_run_again_the_stages_write_the_same_bytes(folder: Path) -> None:
    before = files(folder)
    for command in (["prepare"], ["subsample", "50"], ["extract_meta", "50"]):
        assert run_stage(folder, *command).code == 0
    assert files(folder) == before


def test_imbalances_are_nested_and_share_their_meta_images(folder: Path) -> None:
    for stage in ("subsample", "extract_meta"):
        assert run_stage(folder, stage, "10").code == 0
    pool = read_pool(paths.pool(BENCHMARK))
    train = [read_manifest(paths.train_manifest(BENCHMARK, r), "train", pool, r) for r in (50, 10)]
    meta = [read_manifest(paths.meta_manifest(BENCHMARK, r), "meta", pool, r) for r in (50, 10)]
    assert train[1].counts == [114, 88, 68, 52, 40, 31, 24, 19, 14, 11]
    assert set(train[0].hash) < set(train[1].hash)
    assert meta[0].hash.tolist() == meta[1].hash.tolist()


def test_another_data_seed_makes_another_data_set(folder: Path) -> None:
    before = read_pool(paths.pool(BENCHMARK))
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("data_seed: 0", "data_seed: 1"))
    assert run_stage(folder, "prepare").code == 0
    after = read_pool(paths.pool(BENCHMARK))
    assert set(after.hash) == set(before.hash)
    assert set(after.hash[after.rows("test")]) != set(before.hash[before.rows("test")])


@pytest.mark.parametrize("writer", ["numpy.save", "pyarrow.parquet.write_table"])
def test_a_full_disk_leaves_pool_and_images_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    before = files(folder)
    (folder / "params.yaml").write_text(PARAMS + "data_seed: 1\n")
    monkeypatch.setattr(writer, full_disk)
    with pytest.raises(OSError, match="no space left"):
        prepare.main(BENCHMARK)
    after = files(folder)
    assert after.pop(str(folder / "params.yaml")) != before.pop(str(folder / "params.yaml"))
    assert after == before


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_pool(path: Path) -> None:
    pool = read_pool(paths.pool(BENCHMARK))
    write_manifest(path, replace(read_manifest(path, "train", pool, 50), pool="f" * 64))


POOL, TRAIN = paths.pool(BENCHMARK), paths.train_manifest(BENCHMARK, 50)
BAD_INPUTS = {
    "missing params": (Path("params.yaml"), Path.unlink, "prepare", "params.yaml: no such file"),
    "unknown key": (
        Path("params.yaml"),
        lambda path: path.write_text(path.read_text() + "data_sede: 1\n"),
        "prepare",
        "params.yaml: unknown key 'data_sede'",
    ),
    "missing pool": (POOL, Path.unlink, "subsample 50", f"{POOL}: no such file"),
    "truncated pool": (POOL, halve, "subsample 50", f"{POOL}: not parquet, or truncated"),
    "truncated pool, meta": (POOL, halve, "extract_meta 50", f"{POOL}: not parquet, or truncated"),
    "imbalance below 1": (None, None, "subsample 0.5", "imbalance 0.5: "),
    "imbalance not a number": (None, None, "subsample nan", "imbalance nan: "),
    "class left without an image": (None, None, "subsample 120", "imbalance 120: class 9 "),
    "unknown benchmark": (None, None, "subsample 50 --benchmark digit", "benchmark 'digit'"),
    "missing manifest": (TRAIN, Path.unlink, "extract_meta 50", f"{TRAIN}: no such file"),
    "truncated manifest": (TRAIN, halve, "extract_meta 50", f"{TRAIN}: not parquet, or truncated"),
    "another fingerprint": (TRAIN, other_pool, "extract_meta 50", f"{TRAIN}: belongs to pool ffffffffffff"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_gets_one_line_and_exit_2_and_changes_nothing(folder: Path, case: str) -> None:
    path, spoil, command, message = BAD_INPUTS[case]
    if path and spoil:
        spoil(path)
    before = files(folder)
    refused = run_stage(folder, *command.split())
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {message}")
    assert refused.stderr.count("\n") == 1
    assert files(folder) == before


def test_the_command_line_says_the_same(folder: Path) -> None:
    ran = python(folder, "-m", "stages.subsample", "0.5")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "error: imbalance 0.5: it is n_max / n_min; give a number of 1 or more\n"


def test_shared_images_stop_extract_meta(folder: Path) -> None:
    """As when someone makes a training set by other means than `subsample`."""
    write_manifest(TRAIN, replace(draw_meta(read_pool(POOL), 50, 10), kind="train"))
    before = files(folder)
    refused = run_stage(folder, "extract_meta", "50")
    assert refused.code == 2
    assert "training and meta set: 100 images in common" in refused.stderr
    assert files(folder) == before


@pytest.mark.parametrize("stage", ["subsample 50", "extract_meta 50"])
def test_the_cheap_stages_work_without_torch_and_scikit_learn(folder: Path, stage: str) -> None:
    name, imbalance = stage.split()
    code = (
        "import sys\n"
        f"from stages import {name}\n"
        f"{name}.main({imbalance})\n"
        "sys.exit(', '.join({'torch', 'sklearn'} & set(sys.modules)) or 0)\n"
    )
    ran = python(folder, "-c", code)
    assert ran.returncode == 0, ran.stderr
