"""Experiments in a copy of the repository find the images where the repository has them."""

import re
from pathlib import Path

import pytest

from longtail.config.params import read_params
from tests.support.dvc_repositories import SmallRepository
from tests.support.own_folders import build
from tests.support.stage_runs import ROOT


@pytest.mark.parametrize("images", ["photos", "../photos", "{train: ../photos, test: photos}"])
def test_experiments_find_relative_images_inside_and_beside_the_repository(
    tmp_path: Path, images: str
) -> None:
    """`photos/` inside is one that git ignores, so that no copy has it."""
    build(tmp_path / "photos")
    build(tmp_path / "repository" / "photos", first=70)
    repository = SmallRepository(tmp_path / "repository", f"{{own: {images}}}")
    said = repository.dvc("exp", "run", "--temp", "-S", "own.test_share=0.3")
    assert "prepare      done: " in said
    if "train" in images:  # queued ones run in such a copy too, each in half a minute
        repository.dvc("exp", "run", "--queue", "-S", "own.test_share=0.25")
        assert "prepare      done: " in repository.dvc("exp", "run", "--run-all")
    assert not (repository.path / "data").exists()


def test_experiments_on_own_images_start_where_the_page_says(tmp_path: Path) -> None:
    build(tmp_path / "photos")
    repository = SmallRepository(tmp_path / "repository", "{own: ../photos}")
    (repository.path / "own").mkdir()
    text = (repository.path / "dvc.yaml").read_text().replace("cmd:", "wdir: ..\n    cmd:")
    (repository.path / "own/dvc.yaml").write_text(f"vars: [../params.yaml]{text}")
    (repository.path / "dvc.yaml").unlink()
    repository.commit()
    page = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    found = re.findall(r"`dvc (exp run (?:own/dvc.yaml )?-S \S*own.test_share)=0.3`", page)
    assert len(found) == 2
    for command, share in zip(found, ("0.3", "0.25"), strict=True):
        words = [*command.split()[:-1], f"{command.split()[-1]}={share}"]
        at_root = "own/dvc.yaml" in words
        folder = repository.path if at_root else repository.path / "own"
        assert "prepare      done: " in repository.dvc("--cd", str(folder), *words)
        assert f"test_share: {share}" in (repository.path / "params.yaml").read_text()


def test_in_a_copy_all_relative_places_are_those_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, copy = tmp_path / "owner", tmp_path / "owner/.dvc/tmp/exps/copy"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    text = (
        "lambda: 0.3\nimbalances: {places-lt: [996]}\nseeds: [1]\n"
        "images: {places-lt: ../places, cifar100-lt: download, imagenet-lt: /disk/images, "
        "own: {train: a, test: b.csv}}\nlists: {places-lt: lists}\nweights: {places-lt: w.pth}\n"
    )
    Path("params.yaml").write_text(text)
    for root, base in ((copy, ""), (owner, f"{owner}/")):
        monkeypatch.setenv("DVC_ROOT", str(root))
        params = read_params()
        assert params.images == {
            "places-lt": f"{base}../places",
            "cifar100-lt": "download",
            "imagenet-lt": "/disk/images",
            "own": f"{base}a",
        }
        assert params.own_images is not None
        assert params.own_images.test == f"{base}b.csv"
        assert (params.lists, params.weights) == (
            {"places-lt": f"{base}lists"},
            {"places-lt": f"{base}w.pth"},
        )
    (tmp_path / "other").mkdir()
    (tmp_path / "other/params.yaml").write_text(text)
    elsewhere = read_params(tmp_path / "other/params.yaml")
    assert elsewhere.lists == {"places-lt": f"{tmp_path}/other/lists"}
