"""A person's own images: found, checked and decoded; split and thinned; the pipeline's stages on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from longtail.data import image_files
from longtail.data.image_files import PixelRules, fitted, read_image
from longtail.data.image_folders import Found, find_images, passed_over
from longtail.data.pools import draw_pool, read_pool, write_pool
from longtail.data.sources import own
from longtail.data.sources.own import OwnImages, find_own
from tests.support.own_folders import build, picture, refusal


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return build(tmp_path / "photos")


def read(found: OwnImages) -> Any:
    return found.read(None, Path("nowhere"), lambda _: None)


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


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (32, 32)])
def test_an_image_becomes_the_centre_of_its_shorter_side(size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    top, left = (size[1] - 32) // 2, (size[0] - 32) // 2
    centre = np.asarray(picture(1, (32, 32)))
    pixels[top : top + 32, left : left + 32] = centre
    assert np.array_equal(np.asarray(fitted(Image.fromarray(pixels), 32, 32)), centre)
    halved = np.asarray(fitted(Image.fromarray(pixels), 16, 16)).astype(int)
    # antialiased: a triangle over four pixels of each direction, so that inside it is their weighted mean
    weights = np.array([1, 3, 3, 1]) / 8
    patch = np.einsum("i,j,ijc->c", weights, weights, centre[9:13, 9:13].astype(float))
    assert np.abs(halved[5, 5] - patch).max() <= 1


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


def write_list(path: Path, rows: list[tuple[Any, Any]]) -> Path:
    paths, labels = zip(*rows, strict=True)
    if path.suffix == ".csv":
        lines = [f'"{one}","{label}"' for one, label in rows]
        path.write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.table({"label": list(labels), "other": [0] * len(rows), "path": list(paths)}), path)
    return path


def listed(photos: Path) -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(photos.parent)), path.parent.name) for path in sorted(photos.rglob("*.png"))
    ]


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


def deep(photos: Path, largest: int) -> dict[Path, np.ndarray]:
    """16-bit grey images among the rare ones, values up to `largest`."""
    draws = np.random.default_rng(0)
    values = {photos / f"rare/deep{n}.png": draws.integers(0, largest, (8, 8)) for n in range(3)}
    next(iter(values.values()))[0, 0] = largest
    for path, pixels in values.items():
        Image.fromarray(pixels.astype(np.uint16)).save(path)
    return values


@pytest.mark.parametrize(
    ("largest", "bits"), [(4095, 12), (1023, 10), (700, 10), (200, 8), (32768, 16), (65535, 16)]
)
def test_16_bit_images_of_a_set_are_scaled_alike_by_the_bits_that_they_use(
    photos: Path, largest: int, bits: int
) -> None:
    values = deep(photos, largest)
    found = find_own(photos, 8)
    source = read(found)
    for path, pixels in values.items():
        row = found.files.index(path)
        expected = np.floor(pixels / 2**bits * 256)
        assert np.array_equal(source.images[row], expected[..., None].repeat(3, axis=2))
        assert np.array_equal(read_image(path, (8, 8, 3), source.rules)[0], source.images[row])
    assert source.rules == PixelRules(bits=bits)
    pool = draw_pool(source, benchmark="own", data_seed=0, test_per_class=None, test_share=0.2)
    write_pool(photos.parent / "pool.parquet", pool)
    assert read_pool(photos.parent / "pool.parquet").rules == source.rules
    said = f"3 16-bit grey images have values up to {largest:,}: all are scaled alike, "
    assert source.notes == (() if bits == 16 else (f"{said}{2**bits - 1:,} is white",))


def test_the_pool_of_images_that_need_no_rule_does_not_name_one(photos: Path) -> None:
    pool = draw_pool(
        read(find_own(photos, 8)), benchmark="own", data_seed=0, test_per_class=None, test_share=0.2
    )
    assert "pixel_rules" not in pool.header()


@pytest.mark.parametrize("upright", [True, False])
def test_images_are_turned_as_the_camera_noted_unless_that_is_not_wanted(photos: Path, upright: bool) -> None:
    path = photos / "rare" / "turned.jpg"
    lying = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(3).reshape(8, 8, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying.save(path, exif=exif, quality=100, subsampling=0)
    found = find_own(photos, 8, upright=upright)
    source = read(found)
    pixels = source.images[found.files.index(path)].astype(int)
    expected = np.asarray(lying.rotate(270) if upright else lying).astype(int)
    assert np.abs(pixels - expected).max() <= 3
    assert source.rules == PixelRules(upright=upright)
    assert np.array_equal(read_image(path, (8, 8, 3), source.rules)[0], pixels)


def outside(photos: Path) -> Path:
    path = photos.parent / "outside"
    path.mkdir()
    picture(5).save(path / "x.png")
    return path


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


def test_all_images_that_cannot_be_read_are_counted_and_the_first_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        path = photos / "common" / f"{number:03}.png"
        path.write_bytes(path.read_bytes()[:150] if number else b"text")
    found = find_own(photos, 8)
    message = refusal(lambda: read(found))
    assert message.startswith(
        f"{photos}: 7 of 53 images cannot be read: common/000.png (not an image in PNG, "
    )
    assert "common/004.png (" in message
    assert "common/005.png" not in message
    assert message.endswith(" and 2 more; fix or remove them")
    for number in range(7):
        picture(number).save(photos / "common" / f"{number:03}.png")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 107)
    assert f"53 of 53 images cannot be read: common/000.png (more than {107:,} pixels)" in refusal(
        lambda: read(found)
    )


def test_a_class_that_is_too_small_is_refused_with_the_counts(photos: Path) -> None:
    found = find_own(photos, 8)
    found.check(0.2, 5)  # rare: 2 + 5 + 1 = 8
    message = refusal(lambda: found.check(0.2, 6))
    assert "1 of 3 classes have fewer images than the test set (own.test_share of them), 6 for " in message
    assert ": rare 8 of 9; " in message


def test_images_that_do_not_fit_in_memory_are_refused_with_a_size_that_does(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_own(photos, 64)
    monkeypatch.setattr(own, "LARGEST", 53 * 3 * 40 * 40)
    assert "53 images x 64 x 64 x 3 = 0.0 GB" in (message := refusal(lambda: found.check(0.2, 5)))
    assert message.endswith("give own.image_size: 40 or less")
    find_own(photos, 40).check(0.2, 5)
    monkeypatch.setattr(own, "LARGEST", 100)
    assert refusal(lambda: found.check(0.2, 5)).endswith("give fewer images")
