"""Commits that do not wait for the disk, and the copy for the case of a power cut."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from longtail.errors import InputError
from longtail.pipeline.mlflow_internals import sqlite_uri
from longtail.pipeline.unsynced import safety_copy, unsynced


def level(path: Path) -> int:
    """What a connection of sqlalchemy has as `synchronous`; 2 is sqlite's default, FULL."""
    from sqlalchemy import create_engine, text

    with create_engine(sqlite_uri(path)).connect() as connection:
        return connection.execute(text("PRAGMA synchronous")).scalar_one()


def notes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [note for (note,) in connection.execute("SELECT * FROM notes")]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (note TEXT)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
    return path


def test_connections_within_the_block_do_not_wait_and_a_copy_is_there(database: Path) -> None:
    with unsynced(database):
        assert level(database) == 0
        assert notes(safety_copy(database)) == ["mine"]
    assert level(database) == 2
    assert not safety_copy(database).exists()


def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    with unsynced(tmp_path / "mlflow.db"):
        assert level(tmp_path / "mlflow.db") == 0
        assert not safety_copy(tmp_path / "mlflow.db").exists()


def test_after_a_power_cut_the_copy_is_named_and_kept(database: Path) -> None:
    copy = safety_copy(database)
    copy.write_bytes(database.read_bytes())
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with (
        pytest.raises(InputError, match=r"mlflow\.db: .*; move .*mlflow\.db\.copy to its place"),
        unsynced(database),
    ):
        pass
    assert notes(copy) == ["mine"]


def test_a_copy_that_a_killed_process_left_is_renewed(database: Path) -> None:
    safety_copy(database).write_bytes(b"half a copy")
    with unsynced(database):
        assert notes(safety_copy(database)) == ["mine"]
    assert not safety_copy(database).exists()
