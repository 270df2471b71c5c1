"""The repository that a run belongs to."""

import os
from pathlib import Path


def repository() -> Path:
    """Its folder, from DVC_ROOT: `dvc exp run --temp` and `--queue` work in a copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def base_of(folder: Path) -> Path:
    """What paths in the params.yaml of `folder` are relative to: `folder`, or in a copy the repository."""
    here = Path.cwd().resolve()
    return repository() if folder.resolve() == here != repository() else folder
