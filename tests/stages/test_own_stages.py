"""Your own images in the stages: how they are split and thinned, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail.config.benchmarks import OWN
from longtail.config.params import OwnParams, read_params
from longtail.config.training import Steps
from longtail.data.manifests import check_disjoint, read_manifest
from longtail.data.pools import read_images, read_pool, share_sizes
from longtail.data.profiles import exponential_profile, natural_profile
from longtail.errors import InputError
from longtail.pipeline import paths
from longtail.planning.planner import plan_bundles
from longtail.reporting.table_text import tail_name
from tests.support.own_folders import build, picture, refusal
from tests.support.stage_runs import run_stage

OWN_WORDS = ("--benchmark", "own")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return build(tmp_path / "photos")


def test_the_test_set_is_a_share_of_each_class_and_never_nothing() -> None:
    assert share_sizes([100, 13, 2, 1], 0.2) == [20, 3, 1, 1]
    # one image more never gives fewer to train on, so that descending sizes stay descending
    left = [size - test for size, test in enumerate(share_sizes(range(1, 2000), 0.37), 1)]
    assert left == sorted(left)


def test_a_natural_tail_is_left_as_it_is_or_thinned_by_rank() -> None:
    names = ("a", "b", "c")
    assert natural_profile([5, 90, 40], 1, names) == [5, 90, 40]
    assert natural_profile([10, 90, 40], 4, names) == [2, 90, 20]  # ranks 2, 0, 1 of 2
    assert natural_profile([50] * 11, 10, [""] * 11) == exponential_profile(50, 10, 11)
    assert natural_profile([30, 30], 2, names) == [30, 15]
    with pytest.raises(InputError, match=r"class 0 \('a'\) would keep none of the 5 images .* a lower imb"):
        natural_profile([5, 90, 40], 6, names)
    with pytest.raises(InputError, match="give 1 "):
        natural_profile([5, 90], 0.5, names)


def params_of(folder: Path, text: str) -> Any:
    path = folder / "params.yaml"
    path.write_text("lambda: 0.3\nimbalances: {own: [1]}\nseeds: [1]\n" + text)
    return read_params(path)


def test_settings_decide_size_share_length_and_augmentation(tmp_path: Path) -> None:
    chosen = params_of(
        tmp_path, "own: {image_size: 64, test_share: 0.1, iterations: 600, augment: cifar}"
    ).benchmark("own")
    assert chosen.image_shape == (64, 64, 3)
    assert chosen.test_share == 0.1
    for training in (chosen.represent, chosen.retrain):
        assert (training.iterations, training.augment, training.second_augment) == (600, "cifar", "cifar")
    assert chosen.represent.schedule == Steps(start=0.1, peak=0.2, warmup=19, milestones=(300, 450))
    for text in ("", "own:\n", "own: {}"):
        assert params_of(tmp_path, text).benchmark("own") == OWN
    assert OwnParams().applied(OWN) == OWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("own: {image_sise: 3}", "own: unknown key 'image_sise'; did you mean 'image_size'?"),
        ("own: {image_size: 7}", "own.image_size: found 7; "),
        ("own: {image_size: 225}", "own.image_size: found 225; "),
        ("own: {test_share: 1}", "own.test_share: found 1; "),
        ("own: {test_share: 0.0}", "own.test_share: found 0.0; "),
        ("own: {iterations: 0}", "own.iterations: found 0; "),
        ("own: {augment: flip}", "own.augment: found 'flip'; "),
        (
            "own: {augment: cifar, image_size: 16}",
            "augment: cifar is for images of 32 pixels and more, not 16",
        ),
        ("own: 3", "own: found 3; "),
        ("images: {own: {tran: x}}", "images: own: unknown key 'tran'; did you mean 'train'?"),
        ("images: {own: {test: x}}", "images: own: train: missing; add it"),
        ("images: {own: {train: x, test: ''}}", "images: own: test: found ''; write a path"),
        ("images: {own: {train: x, orientation: off}}", "images: own: orientation: found 'off'; "),
        ("images: {own: {train: x, several_labels: first}}", "own: several_labels: found 'first'; "),
        ("images: {own: {train: [x]}}", "images: own: train: found ['x']; "),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(lambda: params_of(tmp_path, text))


def test_only_images_as_they_are_have_that_name() -> None:
    assert tail_name("own", 1) == "As they are"
    assert [tail_name("own", 10), tail_name("digits-lt", 1)] == ["Imbalance 10", "Imbalance 1"]


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = photos.parent / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    params_of(folder, "images: {own: ../photos}\nown: {image_size: 8}\n")
    return folder


def test_the_stages_split_own_images_and_say_how(here: Path) -> None:
    prepared = run_stage(here, "prepare", *OWN_WORDS)
    assert prepared.code == 0
    lines = [line.split(maxsplit=1)[1] for line in prepared.stdout.splitlines()]
    assert lines[0] == "own: 3 classes, the largest common with 30 images, the smallest rare with 8"
    assert lines[2].endswith("; data seed 0 picks 0.2 of each as test images, at least one")
    assert lines[3] == (
        "of each class: the test images, then 5 for the meta set; the rest trains: 27 images, n_max 19, "
        "n_min 1"
    )
    assert lines[4:7] == [
        "many-shot: 0 classes",
        "medium-shot: 0 classes",
        "few-shot: 3 classes of 1 to 19 training and 2 to 6 test images",
    ]
    assert run_stage(here, "subsample", "1", *OWN_WORDS).code == 0
    refused = run_stage(here, "subsample", "2", *OWN_WORDS)
    assert refused.code == 2
    assert "class 2 ('rare') would keep none of the 1 images" in refused.stderr
    assert run_stage(here, "extract_meta", "1", *OWN_WORDS).code == 0
    pool = read_pool(paths.pool("own"))
    assert pool.class_names == ("common", "middle", "rare")
    assert np.bincount(pool.label[pool.rows("test")]).tolist() == [6, 3, 2]
    train = read_manifest(paths.train_manifest("own", 1), "train", pool, 1)
    meta = read_manifest(paths.meta_manifest("own", 1), "meta", pool, 1)
    assert (train.counts, meta.counts) == ([19, 7, 1], [5, 5, 5])
    check_disjoint(train.hash, meta.hash, pool.hash[pool.rows("test")])
    assert read_images(paths.images("own"), pool).shape == (53, 8, 8, 3)
    assert run_stage(here, "plan", *OWN_WORDS).code == 0
    assert plan_bundles(read_params().benchmark("own"), read_params())[0].network == "resnet32"


def test_the_stages_take_a_given_test_split(here: Path) -> None:
    build(here.parent / "given", {"rare": 4, "middle": 1, "common": 2}, first=70)
    params_of(here, "images: {own: {train: ../photos, test: ../given}}\nown: {image_size: 8}\n")
    prepared = run_stage(here, "prepare", *OWN_WORDS)
    assert prepared.code == 0, prepared.stderr
    assert "own: 60 images 8x8x3, 3 classes of 12 to 32; 7 are the given test images" in prepared.stdout
    assert (
        "of each class: 5 for the meta set; the rest trains: 38 images, n_max 25, n_min 3" in prepared.stdout
    )
    for stage in ("subsample", "extract_meta"):
        assert run_stage(here, stage, "1", *OWN_WORDS).code == 0
    pool = read_pool(paths.pool("own"))
    assert np.bincount(pool.label[pool.rows("test")]).tolist() == [2, 1, 4]
    assert read_manifest(paths.train_manifest("own", 1), "train", pool, 1).counts == [25, 10, 3]


SEVERAL = "1 images are under several labels (2 copies): common/000.png (common) = rare/000.png (rare)"


def under_two_labels(photos: Path) -> None:
    shutil.copyfile(photos / "common/000.png", photos / "rare/000.png")


def two_under_two_labels(photos: Path) -> None:
    under_two_labels(photos)
    shutil.copyfile(photos / "common/001.png", photos / "rare/001.png")


@pytest.mark.parametrize(
    ("wanted", "said", "sizes"),
    [(None, "all are kept", [30, 15, 8]), ("drop", "all are left out", [29, 15, 7])],
)
def test_an_image_under_two_labels_is_kept_or_left_out(
    here: Path, wanted: str | None, said: str, sizes: list[int]
) -> None:
    under_two_labels(here.parent / "photos")
    chosen = "../photos" if wanted is None else f"{{train: ../photos, several_labels: {wanted}}}"
    params_of(here, f"images: {{own: {chosen}}}\nown: {{image_size: 8}}\nduplicates: keep\nmeta_per_class: 2")
    prepared = run_stage(here, "prepare", *OWN_WORDS)
    assert prepared.code == 0, prepared.stderr
    assert f"prepare      {SEVERAL}; {said}\n" in prepared.stdout
    assert np.bincount(read_pool(paths.pool("own")).label).tolist() == sizes


def copies(photos: Path) -> None:
    """Rare images that all show the same: what is in the test set is left out of the source."""
    for number in range(7):
        picture(7).save(photos / "rare" / f"{number:03}.png")


def corrupt(photos: Path) -> None:
    (photos / "rare" / "000.png").write_bytes(b"text")


REFUSALS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "nothing said": ("", lambda _: None, "params.yaml: images: own: missing; give a folder of class folders"),
    "a download": (
        "images: {own: download}",
        lambda _: None,
        "params.yaml: images: own: found download, which your images do not have",
    ),
    "too small": (
        "images: {own: ../photos}\nmeta_per_class: 9",
        lambda _: None,
        "../photos: 1 of 3 classes have fewer images than the test set (own.test_share of them), 9 for the "
        "meta set and 1 to train on: rare 8 of 12; add images, leave the classes out, or give a smaller ",
    ),
    "too small without copies": (
        "images: {own: ../photos}",
        copies,
        "own, copies of test and meta images left out: 1 of 3 classes have fewer images",
    ),
    "a corrupt image": (
        "images: {own: ../photos}",
        corrupt,
        "../photos: 1 of 53 images cannot be read: rare/",
    ),
    "two labels": (
        "images: {own: {train: ../photos, several_labels: refuse}}",
        under_two_labels,
        f"several_labels: refuse: ../photos: {SEVERAL}; keep one of each",
    ),
    "two labels, too few without them": (
        "images: {own: {train: ../photos, several_labels: drop}}",
        two_under_two_labels,
        "own, images under several labels left out: 1 of 3 classes have fewer images than the test set "
        "(own.test_share of them), 5 for the meta set and 1 to train on: rare 6 of 7; ",
    ),
    "the order of files": (
        "images: {own: ../photos}\nsplit: file_order",
        lambda _: None,
        "params.yaml: split: file_order: ../photos does not tell the order",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_is_refused_before_anything_is_written(here: Path, case: str) -> None:
    text, damage, message = REFUSALS[case]
    params_of(here, text)
    damage(here.parent / "photos")
    refused = run_stage(here, "prepare", *OWN_WORDS)
    assert refused.code == 2
    error = refused.stderr
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["params.yaml"]
