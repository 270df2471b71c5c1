"""The files behind lists: what is missing, what leads out of the root, what cannot be decoded."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.data import image_roots
from longtail.data.image_lists import LongTailed
from longtail.data.image_roots import BadImage, check_files, located, missing, verify
from longtail.errors import InputError
from tests.support.image_trees import SCENES, make_tree, read_lists, refused, write_lists


@pytest.fixture
def lists(tmp_path: Path) -> LongTailed:
    write_lists(tmp_path)
    return read_lists(tmp_path, tmp_path / "root")


def test_a_complete_tree_has_nothing_missing(lists: LongTailed) -> None:
    make_tree(lists)
    check_files(lists)
    assert located(lists) is lists
    assert not lists.flat_val


def test_missing_files_are_counted_and_the_first_five_named(lists: LongTailed) -> None:
    make_tree(lists)
    gone = lists.train.path[3:10]
    for path in gone:
        (lists.train.root / path).unlink()
    lists.test.files[0].unlink()
    lists.test.files[0].mkdir()  # a folder is no image
    message = refused(
        lambda: check_files(lists), "8 of 43 images are missing", f"first: {', '.join(gone[:5])})"
    )
    assert gone[5] not in message
    assert missing(lists.train.root, lists.test.path) == [lists.test.path[0]]


def test_a_wrong_root_is_said_to_be_one(lists: LongTailed) -> None:
    refused(lambda: check_files(lists), "not a folder; give the root")
    lists.train.root.mkdir()
    refused(
        lambda: check_files(lists),
        "43 of 43 images are missing",
        "the folder that the paths in the lists begin",
    )


def test_a_flat_val_is_found_out_and_said(lists: LongTailed) -> None:
    make_tree(lists)
    val = lists.train.root / "val"
    for file in lists.test.files:
        file.rename(val / file.name)
    assert located(lists) is lists  # the class folders are there: files are missing, it is not flat
    for scene in SCENES:
        (val / scene).rmdir()
    found = located(lists)
    assert found.flat_val
    assert found.test.path == tuple(f"val/{Path(path).name}" for path in lists.test.path)
    assert (found.test.label == lists.test.label).all()
    check_files(found)
    assert located(found) is found
    (val / "0_0.jpg").unlink()
    refused(lambda: check_files(located(lists)), "1 of 43", "first: val/0_0.jpg)")


def test_a_flat_val_where_two_classes_share_a_file_name_is_refused(lists: LongTailed) -> None:
    with lists.test.file.open("a") as file:
        file.write("val/arch/0_0.jpg 2\n")
    other = read_lists(lists.test.file.parent, lists.train.root)
    val = lists.train.root / "val"
    val.mkdir(parents=True)
    (val / "0_0.jpg").touch()
    refused(lambda: located(other), str(val), "share their names")


def test_links_are_followed_within_the_root_and_refused_out_of_it(lists: LongTailed, tmp_path: Path) -> None:
    make_tree(lists)
    root = lists.train.root
    first, second = lists.train.files[:2]
    first.unlink()
    first.symlink_to(second)
    check_files(lists)
    first.unlink()
    first.symlink_to(tmp_path / "nowhere.jpg")
    refused(lambda: check_files(lists), "1 of 43 images are missing")
    first.unlink()
    first.symlink_to(first)
    with pytest.raises(InputError):
        check_files(lists)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(second.read_bytes())
    first.unlink()
    first.symlink_to(outside)
    refused(lambda: check_files(lists), str(first), "symbolic link that leaves the root")
    first.unlink()
    first.hardlink_to(second)
    (root / "val").rename(tmp_path / "elsewhere")
    (root / "val").symlink_to(tmp_path / "elsewhere")
    refused(lambda: check_files(lists), str(root / "val"), "leads it out of the root")
    # the root itself may be a link: a person gave it
    (root / "val").unlink()
    (tmp_path / "elsewhere").rename(root / "val")
    (tmp_path / "link").symlink_to(root)
    check_files(read_lists(tmp_path, tmp_path / "link"))


def test_each_folder_is_listed_once_and_no_file_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"train/{c}/{i}.jpg" for c in range(5) for i in range(20)]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    listed: list[Path] = []
    real, scan = os.path.realpath, os.scandir
    resolved: list[Path] = []
    monkeypatch.setattr(os, "scandir", lambda place: (listed.append(place), scan(place))[1])
    monkeypatch.setattr(os.path, "realpath", lambda place: (resolved.append(place), real(place))[1])
    assert missing(tmp_path, [*paths, "train/9/none.jpg"]) == ["train/9/none.jpg"]
    assert sorted(listed) == [tmp_path / "train" / str(c) for c in (0, 1, 2, 3, 4, 9)]
    assert len(resolved) < 20


# decoding


def spoil(folder: Path) -> dict[str, str]:
    """Bad images by name, with what is to be said of each."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    content = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "head.jpg").write_bytes(content[:20])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("<html>not found</html>")
    (folder / "folder.jpg").mkdir()
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    return {
        "cut.jpg": "damaged",
        "head.jpg": "damaged",
        "empty.jpg": "0 bytes",
        "text.jpg": "not an image",
        "folder.jpg": "not a file",
        "gone.jpg": "no such file",
        "bomb.png": "pixels",
    }


def test_bad_images_are_named_with_the_reason_in_the_order_asked(tmp_path: Path) -> None:
    expected = spoil(tmp_path)
    good = []
    for number in range(80):  # more than a chunk for each process
        file = tmp_path / f"{number}.jpg"
        Image.new(("RGB", "L", "CMYK")[number % 3], (4, 3)).save(file)
        good.append(file)
    files = [*good[:40], *(tmp_path / name for name in expected), *good[40:], tmp_path / "whole.jpg"]
    reached: list[int] = []
    found = verify(files, workers=2, reach=reached.append)
    assert [image.file.name for image in found] == list(expected)
    for image in found:
        assert expected[image.file.name] in image.reason
        assert "\n" not in image.reason
        assert str(tmp_path) not in image.reason
    assert reached == sorted(reached)
    assert reached[-1] == len(files)
    assert verify([], workers=2) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_image_that_ends_its_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # forked, for processes that have the spoilt decoder
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(image_roots.multiprocessing, "get_context", lambda _: fork)
    monkeypatch.setattr(image_roots, "CHUNK", 4)
    files = [tmp_path / f"{number}.jpg" for number in range(40)]
    killers = {files[5], files[6], files[39]}

    def decode(file: Path, shape: object) -> None:
        if file in killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if file == files[20]:
            raise InputError(file, "damaged")

    monkeypatch.setattr(image_roots, "read_image", decode)
    reached: list[int] = []
    found = verify(files, workers=2, reach=reached.append)
    ended = "decoding it ends the process"
    expected = [(5, ended), (6, ended), (20, "damaged"), (39, ended)]
    assert found == [BadImage(files[number], reason) for number, reason in expected]
    assert reached[-1] == len(files)
