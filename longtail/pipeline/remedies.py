"""The command that makes a file again, for errors that name none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longtail.errors import InputError

STAGES = {
    "pool.parquet": "prepare",
    "images.npy": "prepare",
    "train.parquet": "subsample",
    "meta.parquet": "extract_meta",
}
"""The stage that makes a file below data/, by its name; plans are in a folder of their own."""


def remedy_for(path: Path) -> str | None:
    """The command that makes `path` again; None if no stage makes it."""
    parts = path.parts
    if "data" in parts and ("plan" in parts or path.name in STAGES):
        return f"`dvc repro {'plan' if 'plan' in parts else STAGES[path.name]}` makes it again"
    return "run `dvc repro`" if {"models", "reports", "work"} & set(parts) else None


@contextmanager
def remedies(default: str | None = None) -> Iterator[None]:
    """Complete the InputErrors of the block that name no remedy, with `default` if the path tells none."""
    try:
        yield
    except InputError as error:
        if error.remedy is None:
            known = remedy_for(error.place) if isinstance(error.place, Path) else None
            error.remedy = known or default
        raise
