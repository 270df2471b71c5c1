"""The user's own images by a list of paths and labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longtail.data.pools import draw_pool
from longtail.data.sources.own import find_own
from tests.support.own_folders import build, listed, outside, picture, read, refusal, write_list


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return build(tmp_path / "photos")


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_list_gives_what_the_folder_gives(photos: Path, name: str) -> None:
    found = find_own(write_list(photos.parent / name, listed(photos)), 8)
    pools = [
        draw_pool(read(one), benchmark="own", data_seed=0, test_per_class=None, test_share=0.2)
        for one in (found, find_own(photos, 8))
    ]
    assert pools[0].fingerprint == pools[1].fingerprint


def test_the_order_of_a_list_does_not_decide_that_of_classes(photos: Path) -> None:
    rows = [row for row in listed(photos) if row[0].split("/")[-1] < "008.png"]
    for order in (rows, rows[::-1]):
        found = find_own(write_list(photos.parent / "list.csv", order), 8)
        assert (found.sizes, found.class_names) == ([8, 8, 8], ("common", "middle", "rare"))


def test_labels_of_a_list_are_any_text(photos: Path) -> None:
    names = {"rare": "07", "common": "Straße, 日本", "middle": "null"}
    rows = [(path, names[label]) for path, label in listed(photos)]
    found = find_own(write_list(photos.parent / "list.csv", rows), 8)
    assert found.class_names == ("Straße, 日本", "null", "07")
    whole = [(path, len(label)) for path, label in rows]
    assert find_own(write_list(photos.parent / "list.parquet", whole), 8).class_names == ("10", "4", "2")


def linked(photos: Path) -> list[tuple[Any, Any]]:
    """A link beside the images, to a file that does not lie in the folder of the list."""
    elsewhere = photos.parent.parent / f"{photos.parent.name}-elsewhere.png"
    picture(5).save(elsewhere)
    (photos / "x.png").symlink_to(elsewhere)
    return change(photos, "photos/x.png")


def change(photos: Path, path: str) -> list[tuple[Any, Any]]:
    rows: list[tuple[Any, Any]] = list(listed(photos))
    return [(path, "rare"), *rows]


LISTS: dict[str, tuple[Callable[[Path], list[tuple[Any, Any]]], str]] = {
    "absolute": (
        lambda photos: change(photos, str(outside(photos) / "x.png")),
        "1 of 54 paths name no file in its folder: /",
    ),
    "a drive": (lambda photos: change(photos, "C:\\x.png"), "C:\\x.png (absolute)"),
    "climbing": (lambda photos: change(photos, "photos/../../x.png"), "photos/../../x.png (climbs)"),
    "a link": (linked, "photos/x.png (a link that leads out)"),
    "missing": (lambda photos: change(photos, "x.png"), ": x.png (no such file); fix the list"),
    "twice": (
        lambda photos: [*listed(photos), ("./photos/rare/000.png", "common")],
        "1 paths are listed twice: photos/rare/000.png; keep one row of each",
    ),
    "no label": (lambda photos: [*listed(photos), ("photos/rare/000.png", "")], "1 rows without a path or a"),
    "one class": (lambda photos: listed(photos)[:3], "1 class with images, 2 or more are needed"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_that_names_other_than_files_in_its_folder_is_refused(photos: Path, case: str) -> None:
    rows, expected = LISTS[case]
    path = write_list(photos.parent / "list.csv", rows(photos))
    message = refusal(lambda: find_own(path, 8))
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("x")
    assert "not a list with the columns path and label" in refusal(
        lambda: find_own(tmp_path / "b.parquet", 8)
    )
    (tmp_path / "e.txt").write_text("x")
    assert "neither a folder nor a list; give a folder" in refusal(lambda: find_own(tmp_path / "e.txt", 8))
    assert "no such file or folder; give a folder" in refusal(lambda: find_own(tmp_path / "f", 8))
