"""Labelled images in parquet files: a column `img`, struct(bytes, path) with PNG bytes, and one of labels."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from longtail.errors import InputError, flat

ROWS = 1000
"""Images decoded between two reports of progress."""
REMEDY = "fetch the file again"


def blocks(
    folder: Path, part: str, label: str, shape: tuple[int, ...], expected: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Images uint8 [n, *shape] and the values [n] of column `label`, from `part`-*.parquet by name.

    Raises InputError naming the file, and the row of an image that cannot be read, unless the files hold
    `expected` images of that shape.
    """
    paths = sorted(folder.glob(f"{part}-*.parquet"))
    files = [_opened(path, label) for path in paths]
    rows = sum(file.metadata.num_rows for file in files)
    if rows != expected:
        raise InputError(
            folder / f"{part}-*.parquet",
            f"{rows} images in {len(files)} files, expected {expected}",
            "put all files of the data set there, and no others",
        )
    for path, file in zip(paths, files, strict=True):
        yield from _blocks(path, file, label, shape)


def _opened(path: Path, label: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(path, f"not parquet, or truncated ({flat(error)})", REMEDY) from None
    schema = file.schema_arrow
    wanted = {"img.bytes": pa.types.is_binary, label: pa.types.is_integer}
    found = {field.name: field.type for field in schema}
    image = found.get("img")
    if image is not None and pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
        found["img.bytes"] = image.field("bytes").type
    if not all(name in found and fits(found[name]) for name, fits in wanted.items()):
        types = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise InputError(
            path,
            f"columns {types}, expected img struct<bytes: binary, ...> and {label} int64",
            "give the files of the right data set",
        )
    return file


def _blocks(
    path: Path, file: pq.ParquetFile, label: str, shape: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    first = 0
    with file:
        try:
            for batch in file.iter_batches(ROWS, columns=["img.bytes", label]):
                contents: list[Any] = batch.column("img").field("bytes").to_pylist()
                labels = batch.column(label)
                if labels.null_count:
                    raise InputError(path, f"rows without a {label}", REMEDY)
                pixels = np.empty((len(contents), *shape), np.uint8)
                for row, content in enumerate(contents):
                    pixels[row] = _decoded(content, shape, f"{path}: row {first + row}")
                yield pixels, labels.to_numpy().astype(np.int64)
                first += len(contents)
        except (pa.ArrowException, OSError) as error:
            raise InputError(path, f"damaged after row {first} ({flat(error)})", REMEDY) from None


def _decoded(content: bytes | None, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    if content is None:
        raise InputError(where, "no image", REMEDY)
    height, width, _ = shape
    try:
        image = PngImageFile(io.BytesIO(content))
        if (image.mode, image.size) == ("RGB", (width, height)):  # known before anything is decoded
            return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(where, f"not a PNG image, or a truncated one ({flat(error)})", REMEDY) from None
    size = "x".join(map(str, image.size))
    raise InputError(
        where, f"an image {image.mode} {size}, expected RGB {width}x{height}", "give the right data set"
    )
