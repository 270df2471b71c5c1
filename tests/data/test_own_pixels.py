"""The user's own images as pixels: cut, scaled and turned, or refused where unreadable or too many."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from longtail.data import image_files
from longtail.data.image_files import PixelRules, fitted, read_image
from longtail.data.pools import draw_pool, read_pool, write_pool
from longtail.data.sources import own
from longtail.data.sources.own import find_own
from tests.support.own_folders import build, picture, read, refusal


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return build(tmp_path / "photos")


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
