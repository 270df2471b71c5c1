"""Your own images in a list of paths and labels."""

import csv
import os
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from longtail.data.class_folders import SHOWN, Pairs, within
from longtail.data.image_folders import leads_out
from longtail.errors import InputError, and_more, flat, shown

WANTED = "give a folder of class folders, or a .csv or .parquet list with the columns path and label"

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What separates columns in files that are no csv."""


def in_list(where: Path) -> Pairs:
    """The files of a list, in its order, with their labels as text. Raises InputError."""
    columns = _columns(where)
    root = where.parent
    bare = [row for row, pair in enumerate(columns, 1) if any(v is None or v == "" or v != v for v in pair)]
    if bare:
        raise InputError(
            where, f"{len(bare)} rows without a path or a label (first: row {bare[0]})", "fill them in"
        )
    rows = [(str(path), str(label)) for path, label in columns]
    faults = [f"{shown(text)} ({fault})" for text, _ in rows if (fault := _fault(root, text))]
    if faults:
        raise InputError(
            where,
            f"{len(faults)} of {len(rows)} paths name no file in its folder: {and_more(faults, SHOWN)}",
            "fix the list",
        )
    pairs = [(root / text, label) for text, label in rows]
    counts = Counter(Path(os.path.normpath(path)) for path, _ in pairs)
    twice = [within(path, Path(os.path.normpath(root))) for path, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            where, f"{len(twice)} paths are listed twice: {and_more(twice, SHOWN)}", "keep one row of each"
        )
    return pairs


def _columns(where: Path) -> list[tuple[object, object]]:
    """The columns path and label of a list. Raises InputError."""
    suffix = where.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(where, "neither a folder nor a list", WANTED)
    try:
        table = _read_csv(where) if suffix == ".csv" else _read_parquet(where)
        return list(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = flat(error)
        raise InputError(where, f"not a list with the columns path and label ({reason})", "fix it") from None


def _read_csv(where: Path) -> pa.Table:
    with where.open("rb") as file:
        start = file.read(2**16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        raise InputError(where, "UTF-16, or no text", "save it as UTF-8")
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    header = next(csv.reader(lines[:1]), [])
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise InputError(where, f"{name} between the columns", "save it with commas")
    _check_columns(where, header)
    text = {"path": pa.string(), "label": pa.string()}
    options = pa_csv.ConvertOptions(column_types=text, include_columns=list(text))
    return pa_csv.read_csv(where, convert_options=options)


def _read_parquet(where: Path) -> pa.Table:
    file = pq.ParquetFile(where)
    schema = file.schema_arrow
    _check_columns(where, schema.names)
    for name in ("path", "label"):
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or any(is_bytes(kind) for is_bytes in BYTES):
            raise InputError(where, f"column {name} is of type {kind}", "store it as text")
    return file.read(columns=["path", "label"])


BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def _check_columns(where: Path, found: list[str]) -> None:
    """Raise InputError unless path and label are there, once."""
    if found.count("path") != 1 or found.count("label") != 1:
        names = and_more([name or "''" for name in found], SHOWN) if found else "none"
        raise InputError(
            where, f"needs one column path and one label; found {names}", "rename them, or add a first line"
        )


def _fault(root: Path, text: str) -> str | None:
    """What is wrong with a path of a list, None: nothing."""
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return "absolute"
    if ".." in PurePosixPath(text).parts or ".." in PureWindowsPath(text).parts:
        return "climbs"
    if "\0" in text or not (root / text).is_file():
        return "no such file; write / between folders" if "\\" in text else "no such file"
    if leads_out(root / text, root):
        return "a link that leads out"
    return None
