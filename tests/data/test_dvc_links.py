"""Links that `dvc add` leaves in place of files, with `cache.type symlink`, are followed; no others are."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from longtail.config.repository import linked_cache
from longtail.data.image_folders import find_images, leads_out
from longtail.data.image_roots import missing
from longtail.data.sources.own import OwnImages, find_own
from tests.support.dvc_repositories import SmallRepository
from tests.support.own_folders import build, refusal


def images(found: OwnImages) -> np.ndarray:
    return found.read(None, Path("nowhere"), lambda _: None).images


@pytest.mark.parametrize("settings", [{}, {"cache.dir": "../shared cache"}], ids=["usual", "shared"])
def test_a_folder_under_dvc_add_with_symlinks_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    repository = SmallRepository(tmp_path / "repository", "{own: pictures}")
    monkeypatch.chdir(repository.path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    build(Path("pictures"))
    shutil.copytree("pictures", tmp_path / "plain")
    rows = [f"{path},{path.parent.name}" for path in sorted(Path("pictures").rglob("*.png"))]
    Path("list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    for name, value in {"cache.type": "symlink", **settings}.items():
        repository.dvc("config", name, value)
    repository.dvc("add", "--quiet", "pictures")
    links = list(Path("pictures").rglob("*.png"))
    assert all(link.is_symlink() for link in links)
    assert linked_cache(Path.cwd()) == Path(repository.dvc("cache", "dir").strip()).resolve()
    expected = images(find_own(tmp_path / "plain", 8))
    for where in (Path("pictures"), Path("list.csv")):
        assert np.array_equal(images(find_own(where, 8)), expected)
    assert (len(find_images([Path("pictures")]).files), find_images([Path("pictures")]).links) == (53, [])
    assert missing(Path(), [str(link) for link in links]) == []
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # of another repository it is not the cache
    assert "53 symbolic links lead out of it or to a folder: " in refusal(
        lambda: find_own(repository.path / "pictures", 8)
    )


def test_equal_images_in_both_splits_are_one_file_in_the_cache_and_two_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    cache = tmp_path / ".dvc/cache/files/md5/00"
    cache.mkdir(parents=True)
    for split in ("train", "test"):
        build(tmp_path / split, {"a": 2, "b": 2})
    (tmp_path / "train/a/000.png").rename(cache / "1")
    for split in ("train", "test"):
        (tmp_path / split / "a/000.png").unlink(missing_ok=True)
        (tmp_path / split / "a/000.png").symlink_to(cache / "1")
    assert find_own(Path("train"), 8, Path("test")).size == 8


def test_a_configuration_that_cannot_be_read_means_the_usual_cache(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("no section\n")
    (tmp_path / ".dvc/config.local").write_text("[core]\n    remote = x\n['remote \"x\"']\n    url = 100%\n")
    assert linked_cache(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.png").symlink_to(tmp_path / "x.png")
    assert leads_out(tmp_path / "photos/x.png", tmp_path / "photos")
