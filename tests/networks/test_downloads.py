"""Pretrained weights: fetched only where that is asked for, and only with the published content."""

import hashlib
from pathlib import Path

import pytest

from longtail.config.params import read_params
from longtail.errors import InputError
from longtail.networks import downloads
from longtail.networks.downloads import fetch_weights
from longtail.pipeline.inputs import with_weights

CONTENT = b"weights"
NAME = f"tiny-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands at the address."""
    path = tmp_path / "published"
    path.write_bytes(CONTENT)
    monkeypatch.setitem(downloads.FILES, "resnet152", NAME)
    monkeypatch.setattr(downloads, "address", lambda model: path.as_uri())
    return path


def test_the_published_content_is_fetched_once(published: Path, tmp_path: Path) -> None:
    found = fetch_weights("resnet152", tmp_path / "downloads")
    assert (found.name, found.read_bytes()) == (NAME, CONTENT)
    published.unlink()
    assert fetch_weights("resnet152", tmp_path / "downloads") == found


def test_another_content_is_refused_and_leaves_nothing(published: Path, tmp_path: Path) -> None:
    published.write_bytes(b"other")
    with pytest.raises(InputError, match=r"not fetched .*hash.*; fetch it by other means"):
        fetch_weights("resnet152", tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_no_network_is_one_line(published: Path, tmp_path: Path) -> None:
    published.unlink()
    with pytest.raises(InputError, match="not fetched"):
        fetch_weights("resnet152", tmp_path / "downloads")


def test_a_file_that_was_damaged_later_is_named(published: Path, tmp_path: Path) -> None:
    path = fetch_weights("resnet152", tmp_path / "downloads")
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"{NAME}: its SHA-256 begins with .*; delete it"):
        fetch_weights("resnet152", tmp_path / "downloads")


@pytest.mark.parametrize("where", ["download", "mine.pth"])
def test_only_download_fetches(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    path = tmp_path / "params.yaml"
    path.write_text(
        f"lambda: 0.3\nseeds: [1]\nimbalances: {{places-lt: [996]}}\nweights: {{places-lt: {where}}}\n"
    )
    params = read_params(path)
    found = with_weights(params, params.benchmark("places-lt")).weights_file("places-lt")
    fetched = tmp_path / "downloads" / NAME
    assert found == (fetched if where == "download" else tmp_path / "mine.pth")
    assert fetched.is_file() is (where == "download")


def test_the_name_is_the_one_that_torchvision_publishes() -> None:
    for model, name in downloads.FILES.items():
        assert downloads.address(model).rpartition("/")[2] == name
