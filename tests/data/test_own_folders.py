"""The user's own images: found in folders of classes, counted, and split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.data.image_files import fitted
from longtail.data.image_folders import Found, find_images, passed_over
from longtail.data.pools import draw_pool
from longtail.data.sources.own import find_own
from tests.support.own_folders import build, listed, outside, picture, read, refusal, write_list


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return build(tmp_path / "photos")


def test_classes_stand_by_descending_number_of_images_and_keep_their_names(photos: Path) -> None:
    build(photos.parent / "more", {"a": 8})
    (photos.parent / "more" / "a").rename(photos / "a")
    found = find_own(photos, 8)
    assert found.class_names == ("common", "middle", "a", "rare")  # of equal size by name
    assert found.sizes == [30, 15, 8, 8]
    reached: list[int] = []
    source = found.read(None, Path("nowhere"), reached.append)
    assert (source.images.shape, source.images.dtype) == ((61, 8, 8, 3), np.uint8)
    assert reached == list(range(1, 62))
    row = found.files.index(photos / "rare" / "003.png")
    assert found.class_names[source.label[row]] == "rare"
    assert np.array_equal(source.images[row], np.asarray(fitted(picture(3), 8, 8)))


@pytest.mark.parametrize("suffix", [".PNG", ".jpg", ".jpeg", ".bmp", ".webp"])
def test_formats_are_read_from_nested_folders_and_other_files_are_passed_over(
    photos: Path, suffix: str
) -> None:
    (photos / "rare" / "deep").mkdir()
    path = photos / "rare" / "deep" / f"x{suffix}"
    Image.new("RGB", (20, 20), (10, 200, 30)).save(path)
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (photos / "rare" / name).write_text("no image")
    (photos / ".git").mkdir()
    found = find_own(photos, 8)
    assert (found.sizes[-1], found.notes) == (
        9,
        ("files passed over: 1 .db (rare 1), 1 .txt (rare 1), 1 hidden",),
    )
    image = read(found).images[found.files.index(path)]
    assert np.abs(image.astype(int) - [10, 200, 30]).max() <= 6


HIDDEN = (
    ".ipynb_checkpoints/000-checkpoint.png",
    ".thumbnails/large/000.png",
    "deep/.cache/x/000.png",
    "._000.png",
)


@pytest.mark.parametrize("name", HIDDEN)
def test_no_part_of_a_path_below_the_root_may_begin_with_a_dot(tmp_path: Path, name: str) -> None:
    photos = build(tmp_path / ".downloads" / "photos")  # above the root it may
    path = photos / "rare" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(99).save(path)
    found = find_own(photos, 8)
    assert (found.sizes, found.notes) == ([30, 15, 8], ("files passed over: 1 hidden",))
    assert path not in find_images([photos]).files
    assert len(find_images([photos]).files) == 53
    picture(98).save(path.with_name("seen.png"))
    assert find_own(photos, 8).size == 53 + (path.parent.name == "rare")


SPLIT_NAMES = [("train", "test"), ("train", "val", "test"), ("Training", "VALID"), ("testing", "validation")]


@pytest.mark.parametrize("names", SPLIT_NAMES, ids=lambda names: "-".join(names))
def test_splits_above_the_classes_are_not_read_as_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = tmp_path / "photos"
    for name in names:
        build(root / name, {"cat": 3, "dog": 2})
    message = refusal(lambda: find_own(root, 8))
    first = ", ".join(sorted(names))
    assert message.startswith(f"{root}: {first} are splits, not classes: 2 folders are in more than one ")
    assert "more than one (cat, dog); name the folder of one split, " in message
    assert find_own(root / names[0], 8).class_names == ("cat", "dog")


def test_classes_that_are_named_like_splits_are_read_where_they_hold_no_classes(tmp_path: Path) -> None:
    build(tmp_path / "a", {"train": 3, "Test": 2})
    (tmp_path / "a/train/morning").mkdir()
    picture(50).save(tmp_path / "a/train/morning/x.png")
    assert find_own(tmp_path / "a", 8).class_names == ("train", "Test")
    build(tmp_path / "b", {"train": 3, "bus": 2})
    for name in ("train", "bus"):
        (tmp_path / "b" / name / "morning").mkdir()
        picture(51).save(tmp_path / "b" / name / "morning/x.png")
    assert find_own(tmp_path / "b", 8).class_names == ("train", "bus")


def test_suffixes_that_are_passed_over_are_counted_with_the_classes_that_have_them(photos: Path) -> None:
    given = build(photos.parent / "given", {"rare": 2, "middle": 1, "common": 1}, first=70)
    for root, name, count, suffix in (
        (photos, "rare", 7, ".JP2"),
        (photos, "common", 2, ".jp2"),
        (given, "rare", 1, ".jp2"),
        (photos, "middle", 3, ""),
    ):
        for number in range(count):
            (root / name / f"x{number}{suffix}").touch()
    found = find_own(photos, 8, given)
    assert found.notes == ("files passed over: 10 .jp2 (rare 8, common 2), 3 without a suffix (middle 3)",)
    assert find_own(write_list(photos.parent / "list.csv", listed(photos)), 8).notes == ()
    for number in range(9):
        (photos / "rare" / f"x.s{number}").touch()
    assert find_own(photos, 8).notes[0].endswith(", 1 .s2 (rare 1), 6 more suffixes")


def test_heic_without_its_plugin_names_the_package() -> None:
    found = Found(passed=[Path("a.HEIC"), Path("b.heic")])
    assert passed_over({"": found}) == ("files passed over: 2 .heic; `pip install pillow-heif` to read .heic")


def test_a_given_test_split_is_the_test_set(photos: Path) -> None:
    given = build(photos.parent / "given", {"rare": 4, "middle": 1, "common": 2}, first=70)
    found = find_own(photos, 8, given)
    assert (found.class_names, found.sizes, found.size) == (("common", "middle", "rare"), [30, 15, 8], 60)
    found.check(None, 7)  # rare: 7 for the meta set and 1 to train on
    assert "fewer images than 8 for the meta set and 1 to train on: rare 8 of 9; " in refusal(
        lambda: found.check(None, 8)
    )
    pool = draw_pool(read(found), benchmark="own", data_seed=0, test_per_class=None)
    test = pool.rows("test")
    assert {found.files[row] for row in pool.image[test]} == set(given.rglob("*.png"))
    assert np.bincount(pool.label[test]).tolist() == [2, 1, 4]
    lines = [(f"given/{path.parent.name}/{path.name}", path.parent.name) for path in given.rglob("*.png")]
    again = find_own(photos, 8, write_list(photos.parent / "test.csv", lines))
    assert (
        draw_pool(read(again), benchmark="own", data_seed=0, test_per_class=None).fingerprint
        == pool.fingerprint
    )


TEST_SPLITS: dict[str, tuple[dict[str, int], str]] = {
    "another class": ({"rare": 1, "middle": 1, "common": 1, "zebra": 1}, "1 classes have no image in "),
    "a class less": ({"rare": 1, "common": 1}, "1 classes have no test image: middle; add some, or let the"),
}


@pytest.mark.parametrize("case", TEST_SPLITS)
def test_a_test_split_of_other_classes_is_refused(photos: Path, case: str) -> None:
    sizes, expected = TEST_SPLITS[case]
    given = build(photos.parent / "given", sizes)
    assert refusal(lambda: find_own(photos, 8, given)).startswith(f"{given}: {expected}")


def test_a_file_is_not_in_both_splits(photos: Path) -> None:
    rows = [(f"photos/{name}/000.png", name) for name in ("rare", "middle", "common")]
    given = write_list(photos.parent / "test.csv", rows)
    assert f"{given}: 3 of its images are in {photos} too: " in refusal(lambda: find_own(photos, 8, given))


def link_file(photos: Path) -> None:
    (photos / "rare" / "link.png").symlink_to(outside(photos) / "x.png")


def link_class(photos: Path) -> None:
    (photos / "linked").symlink_to(outside(photos))


def link_folder(photos: Path) -> None:
    (photos / "rare" / "inner").symlink_to(photos / "common")


def loose_image(photos: Path) -> None:
    picture(5).save(photos / "x.png")


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file outside": (
        link_file,
        "1 symbolic links lead out of it or to a folder: rare/link.png; ",
    ),
    "a class folder outside": (link_class, "1 symbolic links lead out of it or to a folder: linked; "),
    "a link to a folder": (link_folder, "1 symbolic links lead out of it or to a folder: rare/inner; "),
    "an image beside the folders": (loose_image, "1 images are next to the class folders: x.png; move each "),
    "an empty class": (lambda photos: (photos / "void").mkdir(), "1 of 4 class folders have no image ("),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_is_not_one_of_class_folders_is_refused(photos: Path, case: str) -> None:
    damage, expected = FOLDERS[case]
    damage(photos)
    message = refusal(lambda: find_own(photos, 8))
    assert message.startswith(f"{photos}: {expected}")


def test_a_link_within_the_folder_is_read(photos: Path) -> None:
    (photos / "rare" / "link.png").symlink_to(photos / "rare" / "000.png")
    assert read(find_own(photos, 8)).images.shape[0] == 54


def test_a_class_that_is_too_small_is_refused_with_the_counts(photos: Path) -> None:
    found = find_own(photos, 8)
    found.check(0.2, 5)  # rare: 2 + 5 + 1 = 8
    message = refusal(lambda: found.check(0.2, 6))
    assert "1 of 3 classes have fewer images than the test set (own.test_share of them), 6 for " in message
    assert ": rare 8 of 9; " in message
