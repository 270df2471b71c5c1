"""Writing to MLflow's database without waiting for the disk at each commit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from longtail.errors import InputError
from longtail.files import atomic_path
from longtail.pipeline.tracking import REMEDY, check_writable, is_temporary


def safety_copy(database: Path) -> Path:
    """Where the database is copied to for as long as a power cut could damage it."""
    return database.with_name(f"{database.name}.copy")


@contextmanager
def unsynced(database: Path) -> Iterator[None]:
    """Within the block, sqlite's commits do not wait for the disk: MLflow makes six a run, and waiting takes
    longer than all else.

    A killed process does no harm. A power cut can damage the database: a new one is then made again from
    reports/, and of one that was there, with what people wrote in it, there is a copy.

    Raises:
        InputError: the database is damaged, or may not be written.
        sqlite3.OperationalError: it is locked.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    copy = safety_copy(database)
    if database.is_file() and database.stat().st_size:
        _make(copy, database)

    def set_level(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", set_level)
    try:
        yield
    finally:
        event.remove(Engine, "connect", set_level)
        if database.is_file():
            with database.open("rb") as file:
                os.fsync(file.fileno())
        copy.unlink(missing_ok=True)


def _make(copy: Path, database: Path) -> None:
    try:
        check_writable(database)
        with closing(sqlite3.connect(database)) as source:
            if copy.is_file() and source.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")
            with atomic_path(copy) as temporary, closing(sqlite3.connect(temporary)) as target:
                source.backup(target)
    except sqlite3.DatabaseError as error:
        if is_temporary(error):
            raise
        remedy = f"move {copy} to its place" if copy.is_file() else REMEDY
        raise InputError(database, error, remedy) from None
