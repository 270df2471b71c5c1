"""ImageNet-LT and Places-LT through the stages, from `plan` to the tables, on lists of small JPEGs."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from longtail.config.benchmarks import PLACES_TOTALS
from longtail.data.image_lists import long_tailed, read_list
from longtail.data.manifests import check_disjoint, draw_meta, draw_train, read_manifest, tail_rows
from longtail.data.pools import read_pool
from longtail.data.sources.listed import listed_pool
from longtail.pipeline import paths
from longtail.running.cell_folders import read_cell
from tests.support.listed_benchmarks import COUNTS, IMBALANCE, SIDE, params_text, put_in_place, write_tree
from tests.support.stage_runs import Result, run_stage

PLACES = Path(__file__).parents[3] / "shared" / "data" / "places_lt"
R = float(IMBALANCE)


@pytest.fixture(scope="module", autouse=True)
def few_layers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LONGTAIL_AHEAD", "1")
        put_in_place(monkeypatch)
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists and images, which no test changes."""
    root = tmp_path_factory.mktemp("tree")
    write_tree(root)
    return root


def stage(root: Path, name: str, benchmark: str, *words: str) -> Result:
    """Run a stage, which ends well."""
    found = run_stage(root, name, *words, "--benchmark", benchmark)
    assert found.code == 0, found.stderr
    return found


def refusal(root: Path, name: str, benchmark: str, *words: str) -> str:
    """Run a stage, which refuses in one line."""
    found = run_stage(root, name, *words, "--benchmark", benchmark)
    assert found.code == 2, found.stdout
    assert len(found.stderr.strip().splitlines()) == 1
    return found.stderr


def copy_of(tree: Path, root: Path, benchmark: str, more: str = "") -> Path:
    shutil.copytree(tree, root)
    (root / "params.yaml").write_text(params_text(benchmark, more))
    return root


def make_sets(root: Path, benchmark: str) -> None:
    for name, words in (("plan", ()), ("prepare", ()), ("subsample", (IMBALANCE,))):
        stage(root, name, benchmark, *words)
    stage(root, "extract_meta", benchmark, IMBALANCE)


NETWORKS = ("resnet10", "resnet50")


@pytest.fixture(scope="module")
def imagenet(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Result]]:
    """The whole pipeline of ImageNet-LT, and what the trainings said."""
    root = copy_of(tree, tmp_path_factory.mktemp("imagenet") / "run", "imagenet-lt")
    make_sets(root, "imagenet-lt")
    said = {}
    for network in NETWORKS:
        bundle = f"{network}-difficulty_net"
        said[bundle] = stage(root, "represent", "imagenet-lt", IMBALANCE, bundle)
        stage(root, "retrain", "imagenet-lt", IMBALANCE, bundle)
    for name, words in (("evaluate", (IMBALANCE,)), ("tabulate", ()), ("plot", ())):
        stage(root, name, "imagenet-lt", *words)
    return root, said


def test_the_pool_is_that_of_the_lists_and_the_sets_share_no_image(
    imagenet: tuple[Path, dict[str, Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imagenet[0])
    pool = read_pool(paths.pool("imagenet-lt"))
    assert pool.path is not None
    assert [len(pool.rows(split)) for split in ("source", "val", "test")] == [19, 16, 8]
    assert pool.class_names == ("arch", "pier", "zoo", "living room")
    assert pool.original_label == (2, 0, 3, 1)
    assert pool.image_shape == (SIDE, SIDE, 3)
    train = read_manifest(paths.train_manifest("imagenet-lt", R), "train", pool, R)
    meta = read_manifest(paths.meta_manifest("imagenet-lt", R), "meta", pool, R)
    assert train.counts == COUNTS
    assert meta.counts == [2] * 4
    check_disjoint(train.hash, meta.hash, pool.hash[pool.rows("test")])
    of = dict(zip(pool.image.tolist(), pool.path.tolist(), strict=True))
    assert all(Path(of[image]).name.startswith("v") for image in meta.image.tolist())
    assert not any(Path(of[image]).name.startswith("v") for image in train.image.tolist())


def test_table_2_has_both_networks_beside_the_papers_numbers(
    imagenet: tuple[Path, dict[str, Result]],
) -> None:
    root, _ = imagenet
    with (root / "reports" / "imagenet-lt" / "table2.csv").open() as file:
        lines = [
            line for line in csv.DictReader(file) if line["weights"] == "last" and line["split"] == "all"
        ]
    assert {(line["row"], line["network"]) for line in lines} >= {("BALMS", name) for name in NETWORKS}
    assert [line for line in lines if line["seeds"] != "1"] == []
    metrics = json.loads((root / "reports" / "imagenet-lt" / "metrics.json").read_text())
    assert "resnet50-difficulty_net+las" in json.dumps(metrics)
    curves = (root / "reports" / "imagenet-lt" / "curves.csv").read_text()
    assert f"imb{IMBALANCE}-resnet10-difficulty_net-balms" in curves
    cell = read_cell(
        root / "models/imagenet-lt" / f"imb{IMBALANCE}-heads" / "resnet50-difficulty_net-heads/las-seed1"
    )
    assert cell.cell == f"imb{IMBALANCE}-resnet50-difficulty_net-las-seed1"
    assert (cell.settings["smoothing_head"], cell.training.sampler) == (0.3, "class_aware_short")


def test_a_training_says_whether_it_waits_for_images(imagenet: tuple[Path, dict[str, Result]]) -> None:
    root, said = imagenet
    line = next(x for x in said["resnet10-difficulty_net"].stdout.splitlines() if "images/s" in x)
    assert "loader" in line
    assert "step" in line
    timing = root / f"models/imagenet-lt/imb{IMBALANCE}/resnet10-difficulty_net/seed1/timing.json"
    found = json.loads(timing.read_text())
    assert set(found) == {
        "seconds",
        "loader_images_per_second",
        "step_images_per_second",
        "waited",
        "recorded",
    }
    assert 0 < found["waited"] < 1


def test_a_cell_on_files_gives_equal_bytes_with_any_number_of_processes(
    imagenet: tuple[Path, dict[str, Result]], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = imagenet
    monkeypatch.setattr("longtail.pipeline.bundles.decoder_count", lambda device, workers: 2)
    again = copy_of(tree, tmp_path / "again", "imagenet-lt")
    make_sets(again, "imagenet-lt")
    monkeypatch.delenv("LONGTAIL_AHEAD")
    stage(again, "represent", "imagenet-lt", IMBALANCE, "resnet10-difficulty_net")
    place = f"models/imagenet-lt/imb{IMBALANCE}/resnet10-difficulty_net/seed1"
    for name in ("weights.safetensors", "history.parquet", "predictions.parquet"):
        assert (again / place / name).read_bytes() == (root / place / name).read_bytes(), name


def test_a_trained_network_and_a_head_on_it_predict(imagenet: tuple[Path, dict[str, Result]]) -> None:
    from longtail.inference.predictors import load_predictor

    root, _ = imagenet
    place = root / "models/imagenet-lt"
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    found = [
        load_predictor(place / name).probabilities(images)
        for name in (
            f"imb{IMBALANCE}/resnet10-difficulty_net/seed1",
            f"imb{IMBALANCE}-heads/resnet50-difficulty_net-heads/las-seed1",
        )
    ]
    assert [part.shape for part in found] == [(3, 4)] * 2
    assert not np.allclose(found[0], found[1])


def test_predictions_are_of_the_test_list_in_the_pools_order(
    imagenet: tuple[Path, dict[str, Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imagenet[0])
    table = pq.read_table(
        paths.model("imagenet-lt", R, "resnet10-difficulty_net", "seed1") / "predictions.parquet"
    )
    pool = read_pool(paths.pool("imagenet-lt"))
    assert table["hash"].to_pylist() == pool.hash[pool.rows("test")].tolist()
    assert np.isfinite(np.array(table["logits"].to_pylist())).all()


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of torchvision's network of these few layers."""
    from torchvision.models import resnet

    path = tmp_path_factory.mktemp("weights") / "resnet152.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 2]).state_dict(), path)
    return path


@pytest.mark.parametrize("kind", ["tuned", "frozen"])
def test_places_lt_starts_from_a_backbone_that_moves_slowly_or_not_at_all(
    kind: str, tree: Path, backbone: Path, tmp_path: Path
) -> None:
    more = f"weights: {{places-lt: {backbone}}}\nbackbone: {kind}\n"
    root = copy_of(tree, tmp_path / "run", "places-lt", more)
    make_sets(root, "places-lt")
    stage(root, "represent", "places-lt", IMBALANCE, "difficulty_net")
    place = root / f"models/places-lt/imb{IMBALANCE}"
    found = load_file(place / "difficulty_net/seed1/weights.safetensors")
    start = torch.load(backbone, weights_only=True)
    moved = [
        name
        for name, value in found.items()
        if name.startswith("backbone.") and not torch.equal(value, start[name.removeprefix("backbone.")])
    ]
    assert bool(moved) == (kind == "tuned")
    assert not torch.equal(found["new_block.conv1.weight"], start["layer4.1.conv1.weight"])
    if kind == "frozen":
        return
    stage(root, "retrain", "places-lt", IMBALANCE, "difficulty_net")
    for name, words in (("evaluate", (IMBALANCE,)), ("tabulate", ())):
        stage(root, name, "places-lt", *words)
    table = (root / "reports" / "places-lt" / "table3.md").read_text()
    assert "Ours + LAS" in table
    assert "copied in the paper, not run here" in (root / "reports/places-lt/table3.csv").read_text()
    # a head keeps what it stands on
    below = read_cell(place / "difficulty_net/seed1").fingerprint
    head = place.with_name(f"{place.name}-heads") / "difficulty_net-heads/las-seed1"
    assert read_cell(head).features == below
    # other weights are another training
    backbone_copy = root / "other.pth"
    torch.save({name: value + 1 for name, value in start.items() if value.is_floating_point()}, backbone_copy)
    (root / "params.yaml").write_text(params_text("places-lt", f"weights: {{places-lt: {backbone_copy}}}\n"))
    assert "changed since the plan was made" in refusal(
        root, "represent", "places-lt", IMBALANCE, "difficulty_net"
    )


def test_what_is_missing_in_params_is_said_with_what_to_write(tree: Path, tmp_path: Path) -> None:
    root = copy_of(tree, tmp_path / "run", "places-lt")
    assert "write `weights: {places-lt: <file>}`" in refusal(root, "plan", "places-lt")
    path = root / "params.yaml"
    good = path.read_text()
    path.write_text(good.replace("images: {places-lt: images}\n", ""))
    assert "write `images: {places-lt: <folder>}`" in refusal(root, "prepare", "places-lt")
    path.write_text(good.replace("lists: {places-lt: lists}\n", ""))
    assert "images/Four_LT_train.txt: No such file" in refusal(root, "prepare", "places-lt")
    path.write_text(good.replace(f"[{IMBALANCE}]", "[100]"))
    assert f"write `places-lt: [{IMBALANCE}]`" in refusal(root, "plan", "places-lt")
    path.write_text(good + "split: file_order\n")
    assert "write `split: content`" in refusal(root, "prepare", "places-lt")
    path.write_text(good + "weights: {imagenet-lt: x}\n")
    assert "imagenet-lt has none; take it out" in refusal(root, "plan", "places-lt")
    path.write_text(good)
    assert f"write `places-lt: [{IMBALANCE}]`" in refusal(root, "subsample", "places-lt", "100")


def test_bad_images_are_counted_and_the_first_five_named(tree: Path, tmp_path: Path) -> None:
    root = copy_of(tree, tmp_path / "run", "imagenet-lt")
    stage(root, "prepare", "imagenet-lt", "--verify")
    before = (root / paths.pool("imagenet-lt")).read_bytes()
    files = sorted((root / "images" / "train" / "arch").iterdir())[:6]
    for file in files:
        file.write_bytes(file.read_bytes()[:300])
    said = refusal(root, "prepare", "imagenet-lt", "--verify")
    assert "6 of 43 images cannot be used" in said
    assert all(f"train/arch/{file.name}" in said for file in files[:5])
    assert "and 1 more" in said
    assert (root / paths.pool("imagenet-lt")).read_bytes() == before
    files[0].write_bytes(b"")
    assert "empty" in refusal(root, "prepare", "imagenet-lt")
    for file in files:
        file.unlink()
    said = refusal(root, "prepare", "imagenet-lt")
    assert "6 of 43 images are missing (first: " in said


def test_an_image_that_went_or_changed_stops_a_training_by_its_name(tree: Path, tmp_path: Path) -> None:
    root = copy_of(tree, tmp_path / "run", "imagenet-lt")
    make_sets(root, "imagenet-lt")
    file = root / "images" / "train" / "arch" / "0.jpg"
    other = root / "images" / "train" / "arch" / "1.jpg"
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    words = ("imagenet-lt", IMBALANCE, "resnet10-difficulty_net")
    assert "train/arch/0.jpg: changed since the pool was made" in refusal(root, "represent", *words)
    file.unlink()
    assert "1 of 43 images are missing (first: train/arch/0.jpg)" in refusal(root, "represent", *words)
    file.write_bytes(content)


def test_images_that_are_test_images_too_are_left_out_of_train_and_val(tree: Path, tmp_path: Path) -> None:
    root = copy_of(tree, tmp_path / "run", "imagenet-lt")
    images = root / "images"
    test = (images / "val" / "arch" / "2_0.jpg").read_bytes()
    for name in ("train/arch/3.jpg", "train/zoo/v1.jpg"):
        (images / name).write_bytes(test)
    said = stage(root, "prepare", "imagenet-lt").stdout
    assert "1 images are both in source and test (2 source and 1 test images" in said
    pool = read_pool(root / paths.pool("imagenet-lt"))
    assert [len(pool.rows(split)) for split in ("source", "val", "test")] == [18, 15, 8]
    stage(root, "subsample", "imagenet-lt", IMBALANCE)
    assert "none in the 18 training" in stage(root, "extract_meta", "imagenet-lt", IMBALANCE).stdout


def test_the_real_lists_of_places_lt_make_the_published_sets() -> None:
    files = [PLACES / PLACES_TOTALS.list_name(part) for part in ("train", "val", "test")]
    if not all(file.is_file() for file in files):
        pytest.skip("the lists of Places-LT are not here")
    lists = long_tailed(*(read_list(file, Path("root")) for file in files), totals=PLACES_TOTALS)
    hashes = np.array([path for part in lists.sets for path in part.path])  # no two files are equal
    pool = listed_pool(lists, hashes, benchmark="places-lt", data_seed=0, image_shape=(224, 224, 3))
    left = np.bincount(pool.label[tail_rows(pool, 10)]).tolist()
    train, meta = draw_train(pool, 996, left, 10), draw_meta(pool, 996, 10)
    assert train.counts == list(lists.counts)
    assert meta.counts == [10] * 365
    assert pool.class_names[-1] != "364"
    check_disjoint(train.hash, meta.hash, pool.hash[pool.rows("test")])
