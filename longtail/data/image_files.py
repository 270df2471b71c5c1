"""The user's image files, as the uint8 arrays that a model takes."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longtail.errors import InputError, flat

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""The formats that are decoded; PIL knows more, and starts other programs for some."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of images in a folder, in either case."""

MAX_PIXELS = 80_000_000
"""Per image; below the number at which PIL warns of decompression bombs."""


def read_image(path: Path, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The image as uint8 of `shape` (H, W, 1 or 3), and the (H, W) that it has in the file.

    One channel is PIL's greyscale; transparency and the orientation noted by a camera are ignored. An image
    of another size is `fitted`. Raises InputError.
    """
    height, width, channels = shape
    if not path.is_file():
        raise InputError(path, "not a file" if path.exists() else "no such file")
    decoded = decode(path, "L" if channels == 1 else "RGB")
    found = (decoded.height, decoded.width)
    if found != (height, width):
        decoded = fitted(decoded, height, width)
    return np.asarray(decoded, np.uint8).reshape(shape), found


def decode(path: Path, mode: Literal["L", "RGB"], content: bytes | None = None) -> Image.Image:
    """The image in the file `path`, or in its `content`, in this PIL mode. Raises InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of bombs and odd metadata
            with Image.open(path if content is None else BytesIO(content), formats=FORMATS) as image:
                if image.height * image.width > MAX_PIXELS:
                    raise Image.DecompressionBombError
                image.load()
                return eight_bits(image).convert(mode)
    except Image.DecompressionBombError:
        raise InputError(path, f"more than {MAX_PIXELS:,} pixels", "make it smaller") from None
    except Image.UnidentifiedImageError:
        raise InputError(path, f"not an image in {', '.join(FORMATS)}, or damaged") from None
    except Exception as error:  # decoders fail in many ways
        reason = flat(error)
        raise InputError(path, f"damaged, or not readable ({reason})") from None


def fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest central crop of `image` with these proportions, resized (bilinear, antialiased)."""
    wide = min(image.width, image.height * width / height)
    high = min(image.height, image.width * height / width)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)  # resamples that part alone


def eight_bits(image: Image.Image) -> Image.Image:
    """The upper eight bits of 16-bit greyscale; PIL's own conversion clips at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
