"""Official lists: what is read, numbered and refused; the real ones where they are."""

from collections import Counter
from pathlib import Path

import pytest

from longtail.config.benchmarks import IMAGENET_TOTALS, PLACES_TOTALS, ShotThresholds, Totals
from longtail.data.image_lists import LongTailed, long_tailed, read_list
from longtail.reporting.accuracy import shot_groups
from tests.support.image_trees import SCENES, read_lists, refused, write_lists

DATA = Path(__file__).parents[3] / "shared" / "data"
PLACES, IMAGENET = DATA / "places_lt", DATA / "imagenet_lt"


@pytest.fixture
def lists(tmp_path: Path) -> LongTailed:
    write_lists(tmp_path)
    return read_lists(tmp_path, tmp_path / "root")


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


# the real lists


@pytest.fixture(scope="module")
def places() -> LongTailed:
    files = [PLACES / f"Places_LT_{name}.txt" for name in ("train", "val", "test")]
    if not all(file.is_file() for file in files):
        pytest.skip("the lists of Places-LT are not here")
    return long_tailed(*(read_list(file, Path("root")) for file in files), totals=PLACES_TOTALS)


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


def test_the_lists_of_places_lt_are_not_imagenet_lt(places: LongTailed) -> None:
    refused(
        lambda: long_tailed(*places.sets, totals=IMAGENET_TOTALS),
        "are not ImageNet-LT",
        "62,500 training images, not 115,846",
        "365 classes, not 1,000",
    )


def test_imagenet_lt_val_and_test_have_their_published_figures() -> None:
    files = [IMAGENET / f"ImageNet_LT_{name}.txt" for name in ("val", "test")]
    if not all(file.is_file() for file in files):
        pytest.skip("the lists of ImageNet-LT are not here")
    for file, total in zip(files, (IMAGENET_TOTALS.val, IMAGENET_TOTALS.test), strict=True):
        found = read_list(file, Path("root"))
        assert len(found.path) == total
        assert Counter(found.label.tolist()) == dict.fromkeys(range(1000), total // 1000)
