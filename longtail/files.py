"""Files that appear whole or not at all, and JSON that is an object or an error of one line."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from longtail.errors import InputError

LARGEST = 256 * 2**20
"""Bytes; the largest that a stage writes, the report of 1,000 classes, has a thousandth of it."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name `path`.

    When the block raises, the temporary file is removed and whatever stood at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays the real one: some writers (figures, arrays) choose their format by it
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private to the user; a result has the ordinary permissions of this process
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys to `path`; NaN is refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def own_temporary(path: Path) -> Path:
    """Where this process builds what is to become `path`: `.<name>-<pid>@<host>` beside it."""
    return path.with_name(f".{path.name}-{os.getpid()}@{os.uname().nodename}")


def remove_leftovers(folder: Path) -> None:
    """Remove what dead processes of this host left behind in `folder` under names of `own_temporary`.

    In a shared folder, those of another host may be in use.
    """
    for path in folder.glob(".*-*"):
        found = re.fullmatch(rf"\..+-(\d+)@{re.escape(os.uname().nodename)}", path.name)
        if found is None or _runs(int(found[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def move_whole(partial: Path, finished: Path) -> None:
    """Rename the folder `partial` to `finished`; if another process has made that by now, drop `partial`."""
    try:
        partial.rename(finished)
    except OSError:
        if not finished.is_dir():
            raise
        shutil.rmtree(partial)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def read_object(path: Path, missing: str = "no such file") -> dict[str, Any]:
    """The object in the JSON file `path`. Raises InputError; `missing` is the problem if there is no file.

    NaN and Infinity, which `write_json` never writes, count as damage.
    """
    if not path.is_file():
        raise InputError(path, missing)
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(path, f"{size:,} bytes, more than any such file has")
        found = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(path, error.strerror) from None
    except RecursionError:
        raise InputError(path, "damaged, not JSON (nested too deeply)") from None
    except ValueError as error:  # json's, that of UTF-8, and Python's for integers of thousands of digits
        raise InputError(path, f"damaged, not JSON ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict):
        raise InputError(path, f"holds {_kind(found)}, expected an object with keys")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is in it")


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
