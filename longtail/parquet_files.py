"""Parquet files of this project: a table, and a JSON header that says what it is and where it came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longtail.errors import InputError, flat
from longtail.files import atomic_path

HEADER = b"longtail"
"""The key of the header in the file's metadata."""

MOST_ROWS = 50_000_000
"""A small file can claim more rows than fit in memory."""


def schema_of(**columns: pa.DataType) -> pa.Schema:
    """A schema of `columns` that have a value in each row."""
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def write_parquet(path: Path, table: pa.Table, header: Mapping[str, Any]) -> None:
    """Write `table` with `header`, whole or not at all; the same content gives the same bytes."""
    metadata = {HEADER: json.dumps(header, sort_keys=True).encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)


def read_parquet(
    path: Path, kind: str, schema: pa.Schema, more: pa.Schema | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """The table and the header of a file that `write_parquet` wrote.

    Args:
        kind: what the file holds. Its header may name another `kind`, which is refused.
        schema: the columns in order; those that are not nullable have a value in each row.
        more: columns that may follow.

    Raises InputError where the file is missing, damaged, empty or of another form.
    """
    if not path.is_file():
        raise InputError(path, "no such file")
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MOST_ROWS:
                raise InputError(path, f"{file.metadata.num_rows:,} rows, more than {MOST_ROWS:,}")
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        problem = f"not parquet, or truncated ({path.stat().st_size} bytes: {flat(error)})"
        raise InputError(path, problem) from None
    try:
        header = json.loads((table.schema.metadata or {})[HEADER])
        found = header.get("kind", kind)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise InputError(path, f"does not say what it is, expected a {kind} table") from None
    if found != kind:
        raise InputError(path, f"a {found} table, expected a {kind} table")
    fields = [*schema, *(field for field in more or () if field.name in table.column_names)]
    # lists are equal whatever the name of their elements, which depends on the writer
    if [(field.name, field.type) for field in table.schema] != [(field.name, field.type) for field in fields]:
        raise InputError(path, f"columns {_columns(table.schema)}, expected {_columns(fields)}")
    empty = [field.name for field in fields if not field.nullable and table[field.name].null_count]
    if empty or not table.num_rows:
        raise InputError(path, f"rows without a value for {empty[0]}" if empty else "no rows")
    return table, header


def _columns(fields: pa.Schema | list[pa.Field]) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in fields)
