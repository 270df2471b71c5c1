"""What becomes of each kind of image file, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from longtail.data.image_files import AS_STORED, SUFFIXES, UPRIGHT, PixelRules, decode, deep_notes, read_image
from longtail.errors import InputError
from tests.support.image_files import deep_png, spoilt_images

SHAPE = (8, 8, 1)


def test_files_of_the_right_size_are_read_to_the_pixel(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    colour = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).save(tmp_path / "grey.bmp")
    Image.fromarray(colour).save(tmp_path / "colour.webp", lossless=True)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    for name in ("grey.png", "grey.bmp", "sixteen.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name, SHAPE)[0][..., 0], grey)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.webp", (8, 8, 3))[0], colour)
    np.testing.assert_array_equal(
        read_image(tmp_path / "grey.png", (8, 8, 3))[0], grey[..., None].repeat(3, axis=2)
    )
    assert np.ptp(read_image(tmp_path / "colour.webp", SHAPE)[0]) > 0


def test_a_larger_image_is_resized_with_antialiasing(tmp_path: Path) -> None:
    board = np.indices((48, 64)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    image, decoded = read_image(tmp_path / "board.png", SHAPE)
    assert (image.shape, decoded.image.size) == (SHAPE, (64, 48))
    assert np.abs(image.astype(int) - 127).max() <= 3  # single pixels of the file would be 0 or 255


def test_what_is_wrong_with_an_image_is_one_line(tmp_path: Path) -> None:
    for path, expected in spoilt_images(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_image(path, SHAPE)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


MODES = {
    "1": ("PNG", "BMP", "TIFF", "GIF"),
    "L": ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "AVIF"),
    "LA": ("PNG", "TIFF"),
    "P": ("PNG", "BMP", "GIF", "TIFF"),
    "RGB": ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "AVIF"),
    "RGBA": ("PNG", "WEBP", "TIFF", "AVIF"),
    "CMYK": ("JPEG", "TIFF"),
    "YCbCr": ("JPEG", "TIFF"),
    "LAB": ("TIFF",),
}
EACH = [(mode, name) for mode, names in MODES.items() for name in names]


@pytest.mark.parametrize(("mode", "name"), EACH)
def test_every_mode_of_every_format_becomes_rgb(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.new("RGB", (9, 9), (255, 255, 255) if mode == "1" else (204, 204, 204)).convert(mode)
    image.save(tmp_path / "x", name)
    pixels, _ = read_image(tmp_path / "x", (8, 8, 3))
    assert np.abs(pixels.astype(int) - (255 if mode == "1" else 204)).max() <= 2


@pytest.mark.parametrize("name", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), (shade,) * 3) for shade in (200, 20)]
    frames[0].save(tmp_path / "x", name, save_all=True, append_images=frames[1:])
    assert np.abs(read_image(tmp_path / "x", (8, 8, 3))[0].astype(int) - 200).max() <= 2


def test_heic_is_read_where_its_plugin_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    Image.new("RGB", (64, 64), (200, 20, 20)).save(tmp_path / "x.heic")
    assert {".heic", ".heif"} < set(SUFFIXES)
    assert np.abs(read_image(tmp_path / "x.heic", (8, 8, 3))[0].astype(int) - [200, 20, 20]).max() <= 6


def test_a_phones_jpeg_with_a_second_image_inside_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (shade,) * 3) for shade in (200, 20)]
    frames[0].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(read_image(tmp_path / "x.jpg", (8, 8, 3))[0].astype(int) - 200).max() <= 2


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_of_16_bit_colours_the_upper_eight_are_read_and_dark_ones_are_told(
    tmp_path: Path, channels: int
) -> None:
    path = tmp_path / "x.png"
    for largest, told in ((4095, True), (65535, False)):
        path.write_bytes(deep_png(np.full((8, 8, channels), largest)))
        pixels, decoded = read_image(path, (8, 8, 3))
        assert (pixels == largest >> 8).all()
        assert (decoded.grey, decoded.colour) == (None, largest >> 8)
        assert len(deep_notes([], [largest >> 8], 16)) == told
    Image.new("RGB", (16, 16)).save(path)  # the number of bytes a row is no depth
    assert decode(path, "RGB").colour is None


def test_values_without_a_range_are_refused(tmp_path: Path) -> None:
    for values, expected in (
        (np.full((8, 8), 0.5, np.float32), "floating-point values, whose range it does not tell; save it"),
        (np.full((8, 8), -7, np.int32), "values down to -7; save it with values from 0"),
    ):
        Image.fromarray(values).save(tmp_path / "x.tif")
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / "x.tif", SHAPE)
        assert str(caught.value).startswith(f"{tmp_path / 'x.tif'}: {expected}")


@pytest.mark.parametrize("bits", [7, 33])
def test_no_image_has_other_numbers_of_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="8 to 32"):
        PixelRules(bits=bits)


def noted(folder: Path, orientation: int, name: str = "JPEG") -> tuple[Path, Image.Image]:
    """A file with this orientation in its EXIF data, and what PIL makes of it."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(folder / "x", name, exif=exif)
    with Image.open(folder / "x") as saved:
        return folder / "x", ImageOps.exif_transpose(saved)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pil_does(tmp_path: Path, orientation: int, name: str) -> None:
    path, expected = noted(tmp_path, orientation, name)
    found = decode(path, "RGB", rules=UPRIGHT).image
    assert found.size == expected.size == ((9, 6) if orientation < 5 else (6, 9))
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    if name != "TIFF":  # its decoder turns it
        assert decode(path, "RGB", rules=AS_STORED).image.size == (9, 6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path: Path, orientation: int) -> None:
    path, _ = noted(tmp_path, orientation)
    assert decode(path, "RGB").image.size == (9, 6)


def test_damaged_exif_data_do_not_make_an_image_unreadable(tmp_path: Path) -> None:
    path, _ = noted(tmp_path, 6)
    content = path.read_bytes()
    start = content.index(b"Exif\0\0")
    length = int.from_bytes(content[start - 2 : start])
    for at in range(start, start + length - 2):
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
        assert decode(path, "RGB").image.size in ((9, 6), (6, 9))
