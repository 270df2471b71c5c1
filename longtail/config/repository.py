"""The repository that a run belongs to."""

import os
from configparser import ConfigParser, Error
from functools import cache
from pathlib import Path


def repository() -> Path:
    """Its folder, from DVC_ROOT: `dvc exp run --temp` and `--queue` work in a copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def base_of(folder: Path) -> Path:
    """What paths in the params.yaml of `folder` are relative to: `folder`, or in a copy the repository."""
    here = Path.cwd().resolve()
    return repository() if folder.resolve() == here != repository() else folder


@cache
def linked_cache(root: Path) -> Path:
    """The folder of DVC's cache in the repository `root`, links resolved.

    `dvc add` with `cache.type symlink` leaves links into it in the places of files.
    """
    found = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        file = root / ".dvc" / name
        config = ConfigParser(interpolation=None, strict=False)
        try:
            config.read_string(file.read_text(encoding="utf-8"))
            found = file.parent / config["cache"]["dir"]
        except (OSError, UnicodeDecodeError, Error, KeyError):
            continue
    return Path(os.path.realpath(found))
