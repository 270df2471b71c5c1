"""CIFAR in the stages: the same bytes from any source, official test images, duplicates, other splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longtail.config.benchmarks import BENCHMARKS, find_benchmark
from longtail.data.manifests import check_disjoint, draw_meta, read_manifest, write_manifest
from longtail.data.pools import read_pool
from longtail.data.source import image_hash
from longtail.data.sources import SOURCES
from longtail.pipeline import paths
from tests.support.cifar_files import SMALL100, made_up, write_original, write_parquet
from tests.support.data_stages import PARAMS, files
from tests.support.stage_runs import run_stage, run_stages

CIFAR = "cifar100-lt"
THREE = ("prepare", "subsample 4", "extract_meta 4")


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder beside small made-up files in place of CIFAR-100."""
    source = write_original(tmp_path / "original", SMALL100)
    write_parquet(tmp_path / "parquet", source.parquet_label)
    monkeypatch.setitem(SOURCES, "cifar100", source)
    benchmark = find_benchmark(CIFAR).model_copy(update={"classes": 3, "meta_per_class": 2, "n_max": 10})
    monkeypatch.setitem(BENCHMARKS, CIFAR, benchmark)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def choose(text: str) -> None:
    Path("params.yaml").write_text(PARAMS.replace("50", "4") + text + "\n")


def make(text: str) -> str:
    """Run the three stages with these parameters; what they print."""
    choose(text)
    return run_stages(Path(), *(f"{stage} --benchmark {CIFAR}" for stage in THREE))


def test_the_same_images_from_other_files_give_the_same_bytes(small_cifar: Path) -> None:
    archive = Path("..") / "original" / SMALL100.archive
    data = []
    for duplicates in ("exclude", "keep"):
        for path in ("../parquet", "../original", archive, small_cifar / "parquet"):
            make(f"duplicates: {duplicates}\nimages: {{{CIFAR}: {path}}}")
            data.append(files(Path("data")))
    assert len(data[0]) == 4
    assert data[0] == data[1] == data[2] == data[3]
    assert data[4] == data[5] == data[6] == data[7] != data[0]


def test_the_official_test_images_are_the_test_set(small_cifar: Path) -> None:
    make(f"images: {{{CIFAR}: ../parquet}}")
    pool = read_pool(paths.pool(CIFAR))
    images, label = made_up("test")
    expected = sorted((image_hash(image), value) for image, value in zip(images, label, strict=True))
    rows = pool.rows("test")
    assert sorted(zip(pool.hash[rows].tolist(), pool.label[rows].tolist(), strict=True)) == expected
    train = read_manifest(paths.train_manifest(CIFAR, 4), "train", pool, 4)
    meta = read_manifest(paths.meta_manifest(CIFAR, 4), "meta", pool, 4)
    assert (train.counts, meta.counts) == ([10, 5, 2], [2, 2, 2])
    check_disjoint(train.hash, meta.hash, pool.hash[rows])


@pytest.mark.parametrize(("duplicates", "left"), [("exclude", 33), ("keep", 36)])
def test_duplicates_across_source_and_test_are_shown_and_left_out_or_kept(
    small_cifar: Path, duplicates: str, left: int
) -> None:
    said = make(f"duplicates: {duplicates}\nimages: {{{CIFAR}: ../parquet}}")
    printed = [line for line in said.splitlines() if line.startswith("prepare")]
    (shared,) = [line for line in printed if "both in source and test" in line]
    assert shared.startswith(
        "prepare      2 images are both in source and test (3 source and 2 test images; "
    )
    assert f"duplicates: {duplicates}, " in shared
    assert f"{image_hash(made_up('test')[0][4])[:12]} " in shared
    assert " are under several labels (2 copies): image " in printed[1]
    assert printed[-1].startswith(f"prepare      done: {left} source and 12 test images (pool ")


def test_a_kept_duplicate_in_the_training_set_is_said_and_any_other_still_refused(small_cifar: Path) -> None:
    make(f"duplicates: keep\nimages: {{{CIFAR}: ../parquet}}")
    pool, path = read_pool(paths.pool(CIFAR)), paths.train_manifest(CIFAR, 4)
    source = pool.rows("source")
    kept = source[np.isin(pool.hash[source], pool.shared)]
    train = read_manifest(path, "train", pool, 4)
    unlike = np.setdiff1d(source, np.flatnonzero(np.isin(pool.hash, draw_meta(pool, 4, 2).hash)))
    rows = np.union1d(kept, [unlike[pool.label[unlike] == label][0] for label in range(3)])
    chosen = {name: getattr(pool, name)[rows] for name in ("image", "label", "hash")}
    write_manifest(path, replace(train, **chosen))
    ran = run_stage(Path(), "extract_meta", "4", "--benchmark", CIFAR)
    assert ran.code == 0
    assert "but for 2 test images that both may hold (duplicates: keep)" in ran.stdout
    write_manifest(path, replace(draw_meta(pool, 4, 2), kind="train"))
    refused = run_stage(Path(), "extract_meta", "4", "--benchmark", CIFAR)
    assert refused.code == 2
    assert "training and meta set: 6 images in common" in refused.stderr


def test_the_authors_split_follows_the_original_files(small_cifar: Path) -> None:
    make(f"split: file_order\nduplicates: keep\nimages: {{{CIFAR}: ../original}}")
    pool = read_pool(paths.pool(CIFAR))
    label = np.array(made_up("train")[1])
    train = read_manifest(paths.train_manifest(CIFAR, 4), "train", pool, 4)
    meta = read_manifest(paths.meta_manifest(CIFAR, 4), "meta", pool, 4)
    for c, count in enumerate([10, 5, 2]):
        assert sorted(train.image[train.label == c]) == np.flatnonzero(label == c)[:count].tolist()
        assert sorted(meta.image[meta.label == c]) == np.flatnonzero(label == c)[-2:].tolist()


def test_another_held_out_size_moves_the_largest_class(small_cifar: Path) -> None:
    make(f"meta_per_class: 3\nimages: {{{CIFAR}: ../parquet}}")
    pool = read_pool(paths.pool(CIFAR))
    assert read_manifest(paths.train_manifest(CIFAR, 4), "train", pool, 4).counts == [9, 4, 2]
    assert read_manifest(paths.meta_manifest(CIFAR, 4), "meta", pool, 4).counts == [3, 3, 3]


CIFAR_REFUSALS = {
    "nothing said": (
        "",
        "prepare",
        "params.yaml: images: cifar100-lt: missing; add `images: {cifar100-lt: download}`, or the path ",
    ),
    "nothing there": (
        "images: {cifar100-lt: ../none}",
        "prepare",
        "../none: no such file or folder; give the original cifar-100-python.tar.gz",
    ),
    "no order of files": (
        "split: file_order\nimages: {cifar100-lt: ../parquet}",
        "prepare",
        "params.yaml: split: file_order: ../parquet does not tell the order of the original files; ",
    ),
    "no order of digits": (
        "split: file_order",
        "prepare --benchmark digits-lt",
        "params.yaml: split: file_order: digits-lt does not tell the order of the original files; ",
    ),
    "images of digits": (
        "images: {digits-lt: download}",
        "prepare --benchmark digits-lt",
        "params.yaml: images: digits-lt: its images are built in; remove the line",
    ),
    "all for the meta set": (
        "meta_per_class: 12",
        "subsample 4",
        "meta_per_class 12: cifar100-lt has 12 images a class",
    ),
    "too few left": (
        "",
        "subsample 1",
        "imbalance 1: class 1 ('dog') has 9 images left to train on, 10 wanted; write `duplicates: keep` or "
        "choose a higher imbalance",
    ),
}


@pytest.mark.parametrize("case", CIFAR_REFUSALS)
def test_what_cannot_be_is_refused_in_one_line(small_cifar: Path, case: str) -> None:
    text, command, message = CIFAR_REFUSALS[case]
    if command.startswith("subsample"):
        make(f"images: {{{CIFAR}: ../parquet}}")
    choose(text)
    before = files(Path())
    words = command.split() if "--benchmark" in command else [*command.split(), "--benchmark", CIFAR]
    refused = run_stage(Path(), *words)
    assert refused.code == 2
    error = refused.stderr
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert files(Path()) == before
