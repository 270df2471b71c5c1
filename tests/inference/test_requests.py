"""What a served model is sent becomes uint8 images, or is refused in one sentence."""

import base64
import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from longtail.data.image_files import UPRIGHT, PixelRules
from longtail.inference.requests import as_images

SHAPE = (6, 6, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


FILES = [png(image) for image in IMAGES]
TEXTS = [base64.b64encode(file).decode() for file in FILES]

GOOD: dict[str, Any] = {
    "uint8": IMAGES,
    "lists": IMAGES.tolist(),
    "other whole numbers": IMAGES.astype(np.int64),
    "objects, as MLflow hands on JSON": np.array(IMAGES.tolist(), dtype=object),
    "files": FILES,
    "files as objects": np.array(FILES, dtype=object),
    "base64": TEXTS,
    "base64 as objects": np.array(TEXTS, dtype=object),
    "base64 in lines": ["\n".join(text[i : i + 76] for i in range(0, len(text), 76)) for text in TEXTS],
    "data addresses": [f"data:image/png;base64,{text}" for text in TEXTS],
    "a table": pd.DataFrame({"image": TEXTS}),
}


@pytest.mark.parametrize("kind", GOOD)
def test_arrays_and_image_files_become_the_same_images(kind: str) -> None:
    found = as_images(GOOD[kind], SHAPE, UPRIGHT)
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES)


BAD: dict[str, tuple[Any, str]] = {
    "floats from 0 to 1": (IMAGES / 255, "images of type float64; expected whole numbers 0 to 255 (where"),
    "floats in JSON": ((IMAGES / 255).tolist(), "images of type float64; "),
    "floats as objects": (np.array((IMAGES / 255).tolist(), dtype=object), "images of type float64; "),
    "float32": (IMAGES.astype(np.float32), "images of type float32; "),
    "black and white": (IMAGES > 3, "images of type bool; "),
    "one image": (IMAGES[0], r"images of shape (6, 6, 3); expected Nx6x6x3"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), "images of shape (3, 3, 6, 6); expected Nx6x6x3"),
    "16 bits": (IMAGES.astype(np.uint16) * 16, "images with values 0 to "),
    "negative": (IMAGES.astype(np.int16) - 128, "images with values -128 to "),
    "ragged": ([[1, 2], [3]], "images of different shapes"),
    "text": (["a photograph"], "image 0: text that is not base64"),
    "base64 of text": ([TEXTS[0], base64.b64encode(b"text").decode()], "image 1: not an image in PNG, "),
    "a truncated file": ([FILES[0][:90]], "image 0: damaged, or not readable ("),
    "a table of pixels": (pd.DataFrame(IMAGES.reshape(3, -1)), "a table of 108 columns; expected one, of "),
    "nothing in a row": (np.array([TEXTS[0], None], dtype=object), "image 1: of type NoneType; expected an "),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_would_be_cast_or_guessed_is_refused(kind: str) -> None:
    given, expected = BAD[kind]
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}") as refused:
        as_images(given, SHAPE, UPRIGHT)
    assert "\n" not in str(refused.value)


def test_files_are_read_by_the_rules_of_the_model_and_resized() -> None:
    deep = io.BytesIO()
    Image.fromarray(np.full((12, 20), 4000, np.uint16)).save(deep, "PNG")
    found = as_images([deep.getvalue()], SHAPE, PixelRules(bits=12))
    assert (found.shape, set(found.ravel().tolist())) == ((1, *SHAPE), {250})


def test_no_images_are_no_images() -> None:
    assert as_images(IMAGES[:0], SHAPE, UPRIGHT).shape == (0, *SHAPE)
