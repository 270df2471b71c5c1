"""Official lists: what is read, what is refused, and what is said of the files behind them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail import image_lists
from longtail.benchmarks import ShotThresholds
from longtail.errors import InputError
from longtail.image_lists import (
    IMAGENET_LT,
    PLACES_LT,
    BadImage,
    LongTailed,
    Totals,
    check_files,
    draw_meta,
    located,
    long_tailed,
    missing,
    read_list,
    verify,
)
from longtail.profiles import shot_groups

DATA = Path(__file__).parents[2] / "shared" / "data"
PLACES, IMAGENET = DATA / "places_lt", DATA / "imagenet_lt"

# original label: training images; labels 0 and 3 are tied
TRAIN = {0: 4, 1: 2, 2: 9, 3: 4}
SCENES = ("pier", "living room", "arch", "zoo")


def write_lists(folder: Path) -> None:
    """Lists of four classes with 4 val and 2 test images each."""
    train = [f"train/{SCENES[c]}/{i}.jpg {c}" for c, n in TRAIN.items() for i in range(n)]
    val = [f"train/{SCENES[c]}/v{i}.jpg {c}" for c in TRAIN for i in range(4)]
    test = [f"val/{SCENES[c]}/{c}_{i}.jpg {c}" for c in TRAIN for i in range(2)]
    for name, lines in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def read_lists(folder: Path, root: Path, totals: Totals | None = None) -> LongTailed:
    return long_tailed(
        *(read_list(folder / f"{n}.txt", root) for n in ("train", "val", "test")), totals=totals
    )


@pytest.fixture
def lists(tmp_path: Path) -> LongTailed:
    write_lists(tmp_path)
    return read_lists(tmp_path, tmp_path / "root")


def make_tree(lists: LongTailed) -> None:
    """A small JPEG for every image of the lists."""
    for part in lists.sets:
        for row, file in enumerate(part.files):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (row, 90, 30)).save(file)


def refused(action: Callable[[], object], *words: str) -> str:
    with pytest.raises(InputError) as error:
        action()
    message = str(error.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    return message


# lists


def test_a_path_may_hold_blanks_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbftrain/living room/a b.jpg 3\r\n./train//x/\xc3\xa9.jpg  0\r\n\r\n")
    found = read_list(path, tmp_path)
    assert found.path == ("train/living room/a b.jpg", "train/x/é.jpg")
    assert found.label.tolist() == [3, 0]
    assert found.files == [tmp_path / "train/living room/a b.jpg", tmp_path / "train/x/é.jpg"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train/a.jpg", "without a label"),
        ("", "without a label"),
        ("train/a.jpg x", "label 'x'; expected an integer"),
        ("train/a.jpg -1", "label '-1'"),
        ("train/a.jpg 1.0", "label '1.0'"),
        ("train/a.jpg ٣", "label '٣'"),
        ("train/a.jpg 1000000", "label '1000000'"),
        ("train/a.jpg " + "9" * 5000, "expected an integer from 0"),
        ("/etc/passwd 0", "'/etc/passwd' is absolute"),
        ("C:/a.jpg 0", "is absolute"),
        ("../a.jpg 0", "climbs"),
        ("train/../../a.jpg 0", "climbs"),
        ("train\\..\\a.jpg 0", "with / between folders"),
        ("train/a\0.jpg 0", "with / between folders"),
        ("train/first.jpg 7", "'train/first.jpg' is in line 1 already"),
        ("./train//first.jpg 0", "'train/first.jpg' is in line 1 already"),
    ],
)
def test_a_bad_line_is_named_with_its_number(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"train/first.jpg 0\n{line}\ntrain/last.jpg 1\n", encoding="utf-8")
    message = refused(lambda: read_list(path, tmp_path), f"{path}, line 2: ", words)
    assert len(message) < len(str(path)) + 250


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    refused(lambda: read_list(path, tmp_path), str(path), "No such file")
    refused(lambda: read_list(tmp_path, tmp_path), str(tmp_path), "directory")
    for content in (b"", b" \n\n"):
        path.write_bytes(content)
        refused(lambda: read_list(path, tmp_path), f"{path}: empty")
    path.write_bytes(b"train/a.jpg 0\ntrain/\xff.jpg 1\n")
    refused(lambda: read_list(path, tmp_path), f"{path}, line 2: not UTF-8")


# the three sets together


def test_classes_are_numbered_by_descending_count_and_ties_by_the_original_label(lists: LongTailed) -> None:
    assert lists.original_label == (2, 0, 3, 1)
    assert lists.counts == (9, 4, 4, 2)
    assert lists.imbalance == 4.5
    for part in lists.sets:
        for path, label in zip(part.path, part.label.tolist(), strict=True):
            assert path.split("/")[1] == SCENES[lists.original_label[label]]


def test_the_order_of_lines_changes_neither_numbering_nor_counts(lists: LongTailed) -> None:
    folder = lists.train.file.parent
    lines = lists.train.file.read_text().splitlines()
    lists.train.file.write_text("\n".join(reversed(lines)))
    other = read_lists(folder, lists.train.root)
    assert (other.original_label, other.counts) == (lists.original_label, lists.counts)


GOOD = {"train": 19, "val": 16, "test": 8, "classes": 4, "largest": 9, "smallest": 2}


def test_published_totals_are_checked_and_every_figure_that_differs_is_said(tmp_path: Path) -> None:
    write_lists(tmp_path)
    read_lists(tmp_path, tmp_path, Totals("Four-LT", **GOOD))
    said = {
        "train": "19 training images, not 20",
        "val": "16 val images, not 17",
        "test": "8 test images, not 9",
        "classes": "4 classes, not 5",
        "largest": "9 images in the largest class, not 10",
        "smallest": "2 images in the smallest class, not 3",
    }
    for name, words in said.items():
        totals = Totals("Four-LT", **{**GOOD, name: GOOD[name] + 1})
        message = refused(lambda totals=totals: read_lists(tmp_path, tmp_path, totals), "not Four-LT", words)
        assert sum(other in message for other in said.values()) == 1


def test_lists_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path)
    train, val, test = (tmp_path / f"{name}.txt" for name in ("train", "val", "test"))

    def with_line(path: Path, line: str, *words: str) -> None:
        before = path.read_text()
        path.write_text(before + line)
        refused(lambda: read_lists(tmp_path, tmp_path), *words)
        path.write_text(before)

    with_line(train, "train/a.jpg 6\n", str(train), "label 4 has no training image, as 2 of 7")
    with_line(val, "train/new.jpg 4\n", str(val), "label 4 of train/new.jpg has no training image")
    with_line(val, "train/arch/0.jpg 2\n", f"{train} and {val}", "1 images in common", "train/arch/0.jpg")
    with_line(test, "train/arch/0.jpg 2\n", f"{train} and {test}", "1 images in common")
    with_line(test, "train/arch/v0.jpg 2\n", f"{val} and {test}", "1 images in common")
    read_lists(tmp_path, tmp_path)


# the meta set


def test_the_meta_set_depends_on_seed_and_paths_only_and_is_nested(lists: LongTailed) -> None:
    val = lists.val
    one = draw_meta(lists, 2, seed=1)
    assert Counter(one.label.tolist()) == dict.fromkeys(range(4), 2)
    assert set(zip(one.path, one.label.tolist(), strict=True)) <= set(
        zip(val.path, val.label.tolist(), strict=True)
    )
    lines = val.file.read_text().splitlines()
    val.file.write_text("\n".join(reversed(lines)))
    again = draw_meta(read_lists(val.file.parent, val.root), 2, seed=1)
    assert again.path == one.path[::-1]  # in the order of the list
    assert set(one.path) < set(draw_meta(lists, 3, seed=1).path)
    assert any(set(one.path) != set(draw_meta(lists, 2, seed=seed).path) for seed in (2, 3, 4))
    refused(lambda: draw_meta(lists, 5, seed=1), "5 images wanted for the meta set, 4 left")


# the files


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
    monkeypatch.setattr(image_lists.multiprocessing, "get_context", lambda _: fork)
    monkeypatch.setattr(image_lists, "CHUNK", 4)
    files = [tmp_path / f"{number}.jpg" for number in range(40)]
    killers = {files[5], files[6], files[39]}

    def decode(file: Path, shape: object) -> None:
        if file in killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if file == files[20]:
            raise InputError(f"{file}: damaged")

    monkeypatch.setattr(image_lists, "read_image", decode)
    reached: list[int] = []
    found = verify(files, workers=2, reach=reached.append)
    ended = "decoding it ends the process"
    expected = [(5, ended), (6, ended), (20, "damaged"), (39, ended)]
    assert found == [BadImage(files[number], reason) for number, reason in expected]
    assert reached[-1] == len(files)


# the real lists


@pytest.fixture(scope="module")
def places() -> LongTailed:
    files = [PLACES / f"Places_LT_{name}.txt" for name in ("train", "val", "test")]
    if not all(file.is_file() for file in files):
        pytest.skip("the lists of Places-LT are not here")
    return long_tailed(*(read_list(file, Path("root")) for file in files), totals=PLACES_LT)


def test_places_lt_has_its_published_figures_and_shot_groups(places: LongTailed) -> None:
    assert [len(part.path) for part in places.sets] == [62_500, 7_300, 36_500]
    assert (places.counts[0], places.counts[-1], len(places.counts), places.imbalance) == (4980, 5, 365, 996)
    assert list(places.counts) == sorted(places.counts, reverse=True)
    assert Counter(places.val.label.tolist()) == dict.fromkeys(range(365), 20)
    assert Counter(places.test.label.tolist()) == dict.fromkeys(range(365), 100)
    thresholds = ShotThresholds(many_above=100, few_below=20)
    sizes = {
        name: [len(group) for group in shot_groups(places.counts, thresholds, name).values()]
        for name in ("kang", "mislas")
    }
    assert sizes == {"kang": [131, 163, 71], "mislas": [131, 157, 77]}


def test_the_original_labels_of_places_lt_are_those_of_its_folders(places: LongTailed) -> None:
    folder: dict[int, set[str]] = {}
    for part in places.sets:
        for path, label in zip(part.path, part.label.tolist(), strict=True):
            folder.setdefault(places.original_label[label], set()).add(path.split("/")[1])
    assert all(len(names) == 1 for names in folder.values())
    assert [folder[0], folder[364]] == [{"airfield"}, {"zen_garden"}]


def test_ten_of_the_twenty_val_images_of_places_lt_are_its_meta_set(places: LongTailed) -> None:
    meta = draw_meta(places, 10, seed=1)
    assert Counter(meta.label.tolist()) == dict.fromkeys(range(365), 10)


def test_the_lists_of_places_lt_are_not_imagenet_lt(places: LongTailed) -> None:
    refused(
        lambda: long_tailed(*places.sets, totals=IMAGENET_LT),
        "are not ImageNet-LT",
        "62,500 training images, not 115,846",
        "365 classes, not 1,000",
    )


def test_imagenet_lt_val_and_test_have_their_published_figures() -> None:
    files = [IMAGENET / f"ImageNet_LT_{name}.txt" for name in ("val", "test")]
    if not all(file.is_file() for file in files):
        pytest.skip("the lists of ImageNet-LT are not here")
    for file, total in zip(files, (IMAGENET_LT.val, IMAGENET_LT.test), strict=True):
        found = read_list(file, Path("root"))
        assert len(found.path) == total
        assert Counter(found.label.tolist()) == dict.fromkeys(range(1000), total // 1000)
