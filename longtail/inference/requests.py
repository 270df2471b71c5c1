"""What a served model is sent, arrays or image files in base64, as the uint8 images that it takes."""

import binascii
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longtail.data.image_files import PixelRules, read_image
from longtail.errors import InputError


def as_images(given: Any, shape: tuple[int, int, int], rules: PixelRules) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, channels] of `shape` (H, W, channels).

    `given`: whole numbers 0 to 255 of that shape, as an array or nested lists; or N image files, as bytes or
    base64 text, also in a table of one column. Raises ValueError for anything else, above all for floats,
    whose range nothing tells.
    """
    size = "x".join(map(str, shape))
    if isinstance(given, pd.DataFrame):
        if given.shape[1] != 1:
            raise ValueError(f"a table of {given.shape[1]} columns; expected one, of image files in base64")
        given = given.iloc[:, 0]
    try:
        values = np.asarray(given)
        if values.dtype == object:  # as JSON gives them
            values = np.asarray(values.tolist())
    except ValueError:
        raise ValueError(f"images of different shapes; expected Nx{size}") from None
    if values.dtype.kind in "SUO" and values.ndim == 1:
        return np.stack([_from_file(row, one, shape, rules) for row, one in enumerate(given)])
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"images of type {values.dtype}; expected whole numbers 0 to 255 (where pixels are divided "
            "by 255, multiply and round), or image files in base64"
        )
    if values.shape[1:] != shape:
        raise ValueError(f"images of shape {values.shape}; expected Nx{size}")
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"images with values {values.min()} to {values.max()}; expected 0 to 255")
    return values.astype(np.uint8)


def _from_file(row: int, content: Any, shape: tuple[int, int, int], rules: PixelRules) -> NDArray[np.uint8]:
    """The image in `content`, resized as `longtail predict` does."""
    if isinstance(content, str):
        text = "".join(content.rpartition(";base64,")[2].split())
        try:
            content = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"image {row}: text that is not base64") from None
    if not isinstance(content, bytes):
        raise ValueError(f"image {row}: of type {type(content).__name__}; expected an image file in base64")
    try:
        return read_image(Path(f"image {row}"), shape, rules, content)[0]
    except InputError as error:
        raise ValueError(str(error)) from None
