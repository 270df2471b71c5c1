"""JSON that the stages wrote, read back: an object, or one line that says why it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from longtail.errors import InputError

LARGEST = 256 * 2**20
"""Bytes; the largest that a stage writes, the report of 1,000 classes, has a thousandth of it."""


def read_object(path: Path, remedy: str, missing: str = "no such file") -> dict[str, Any]:
    """The object in the JSON file `path`. Raises InputError that ends with `remedy`.

    `missing` is what is said where there is no such file. NaN and Infinity, which `write_json` never writes,
    are refused as damage.
    """
    if not path.is_file():
        raise InputError(f"{path}: {missing}; {remedy}")
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(f"{path}: {size:,} bytes, more than any such file has; {remedy}")
        found = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {remedy}") from None
    except RecursionError:
        raise InputError(f"{path}: damaged, not JSON (nested too deeply); {remedy}") from None
    except ValueError as error:  # json's, that of UTF-8, and Python's for integers of thousands of digits
        raise InputError(f"{path}: damaged, not JSON ({' '.join(str(error).split())}); {remedy}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds {_kind(found)}, expected an object with keys; {remedy}")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} stands in it")


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
