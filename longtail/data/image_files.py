"""The user's image files, as the uint8 arrays that a model takes."""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, features

from longtail.errors import InputError, flat

ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    **({"AVIF": (".avif",)} if features.check("avif") else {}),
}
"""PIL's formats that are decoded, the first frame of each; it knows more, some by starting other programs."""

if find_spec("pillow_heif"):
    import_module("pillow_heif").register_heif_opener()
    ENDINGS["HEIF"] = (".heic", ".heif")

FORMATS = tuple(ENDINGS)

SUFFIXES = tuple(ending for endings in ENDINGS.values() for ending in endings)
"""Suffixes of images in a folder, in either case."""

MAX_PIXELS = 80_000_000
"""Per image; below the number at which PIL warns of decompression bombs."""

DEEP = re.compile("(RGB|RGBA|RGBX|RGBa|LA|CMYK);16")
"""PIL's names of 16-bit colours in files; it decodes them to eight bits."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by the orientation in its EXIF data; 1 is upright."""


@dataclass(frozen=True)
class PixelRules:
    """How values in an image file become the model's, apart from size and channels."""

    upright: bool = True
    """Whether images are turned as the camera noted (EXIF)."""
    bits: int = 16
    """How many bits 16-bit greyscale uses; the upper eight of them are kept."""

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 32:
            raise ValueError(f"bits: found {self.bits}; 8 to 32")


UPRIGHT = PixelRules()
AS_STORED = PixelRules(upright=False)


@dataclass(frozen=True)
class Decoded:
    """An image with eight bits per channel."""

    image: Image.Image
    grey: int | None = None
    """The largest value, of 16-bit greyscale."""
    colour: int | None = None
    """The largest of the upper eight bits, of 16-bit colours: PIL reads no more of them."""


def read_image(
    path: Path, shape: tuple[int, int, int], rules: PixelRules = UPRIGHT, content: bytes | None = None
) -> tuple[NDArray[np.uint8], Decoded]:
    """The image in a file, or in its `content`, as uint8 of `shape` (H, W, 1 or 3), and as it was decoded.

    One channel is PIL's greyscale; transparency is ignored. An image of another size is `fitted`. Raises
    InputError.
    """
    height, width, channels = shape
    decoded = decode(path, "L" if channels == 1 else "RGB", content, rules)
    image = decoded.image
    if (image.height, image.width) != (height, width):
        image = fitted(image, height, width)
    return np.asarray(image, np.uint8).reshape(shape), decoded


def decode(
    path: Path, mode: Literal["L", "RGB"], content: bytes | None = None, rules: PixelRules = UPRIGHT
) -> Decoded:
    """The image in the file `path`, or in its `content`, in this PIL mode. Raises InputError."""
    if content is None and not path.is_file():  # a pipe, or a link to nothing
        raise InputError(path, "not a file" if path.exists() else "no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of bombs and odd metadata
            with Image.open(path if content is None else BytesIO(content), formats=FORMATS) as image:
                if image.height * image.width > MAX_PIXELS:
                    raise Image.DecompressionBombError
                deep = any(DEEP.match(str(tile.args).strip("('")) for tile in image.tile)
                image.load()
                turned = _upright(image) if rules.upright else image
                return _eight_bits(path, turned, mode, deep, rules.bits)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(path, f"more than {MAX_PIXELS:,} pixels", "make it smaller") from None
    except Image.UnidentifiedImageError:
        raise InputError(path, f"not an image in {', '.join(FORMATS)}, or damaged") from None
    except Exception as error:  # decoders fail in many ways
        reason = flat(error) or type(error).__name__
        raise InputError(path, f"damaged, or not readable ({reason})") from None


def fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest central crop of `image` with these proportions, resized (bilinear, antialiased)."""
    wide = min(image.width, image.height * width / height)
    high = min(image.height, image.width * height / width)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)  # resamples that part alone


def _upright(image: Image.Image) -> Image.Image:
    """The image turned upright; `ImageOps.exif_transpose` fails where other EXIF data are damaged."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF data that cannot be read at all
        return image
    return image if turn is None else image.transpose(turn)


def _eight_bits(path: Path, image: Image.Image, mode: Literal["L", "RGB"], deep: bool, bits: int) -> Decoded:
    """16-bit greyscale as the upper eight of `bits`; PIL's own conversion clips at 255.

    `deep`: the file has 16-bit colours, of which PIL kept the upper eight bits. Raises InputError.
    """
    if image.mode == "F":
        raise InputError(path, "floating-point values, whose range it does not tell", "save it with 8 bits")
    if not image.mode.startswith("I"):
        eight = image.convert(mode)
        return Decoded(eight, colour=int(np.asarray(eight).max()) if deep else None)
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0:
        raise InputError(path, f"values down to {values.min():,}", "save it with values from 0")
    grey = Image.fromarray((values >> (bits - 8)).clip(0, 255).astype(np.uint8))
    return Decoded(grey.convert(mode), grey=int(values.max()))


def deep_notes(
    grey: Collection[int], colour: Collection[int], bits: int, expected: int = 16
) -> tuple[str, ...]:
    """Notes on 16-bit images, given the largest value of each, if these do not fill the `expected` bits.

    `bits` of greyscale are read; see `PixelRules`.
    """
    notes = []
    if grey and max(grey).bit_length() != expected:
        notes.append(
            f"{len(grey)} 16-bit grey images have values up to {max(grey):,}: all are scaled alike, "
            f"{2**bits - 1:,} is white"
        )
    if colour and max(colour) < 128:
        notes.append(
            f"{len(colour)} 16-bit colour images are dark: only the upper eight bits of a value are read, "
            f"at most {max(colour)} of 255 here; save them with 8 bits"
        )
    return tuple(notes)
