"""Which code decides a result: digests of modules, by file."""

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from longtail.networks import NETWORKS

LIBRARY = Path(__file__).parents[1]

LOOP = ("training", "meta", "randomness.py", "running/cells.py")
"""What decides every training: the folders and files of the loop."""

FROM_FILES = "training/from_files"
"""The part of the loop for image files; other trainings do not depend on it."""

OWN = ("methods/", "networks/", "data/")
"""Rooms whose files count only for the methods, networks and `FROM_FILES` that import them."""

EVALUATION = "reporting/accuracy.py"
"""What decides an evaluation."""


@lru_cache
def read_module(path: Path) -> tuple[str, tuple[str, ...]]:
    """Digest and imports of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("longtail."):
            module = node.module.removeprefix("longtail.").replace(".", "/")
            found += [f"{module}.py", *(f"{module}/{alias.name}.py" for alias in node.names)]
    return hashlib.sha256(repr(_form(tree)).encode()).hexdigest(), tuple(found)


def code_digest(path: Path) -> str:
    """Hash of what a module does: comments, docstrings and layout do not count."""
    return read_module(path)[0]


def imports(path: Path) -> tuple[str, ...]:
    """The modules of the library that the module at `path` imports, by their paths within it."""
    return tuple(name for name in read_module(path)[1] if (LIBRARY / name).is_file())


def _form(value: Any) -> Any:
    """A syntax tree as plain tuples, the same in every version of Python (that of `ast.dump` is not)."""
    if isinstance(value, list):
        return [_form(part) for part in value if not _is_text(part)]
    if not isinstance(value, ast.AST):
        return value
    # newer versions have more fields, empty where the code says nothing of them
    fields = [(name, _form(part)) for name, part in ast.iter_fields(value) if part is not None and part != []]
    return (type(value).__name__, *fields)


def _is_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def code_digests(files: Iterable[str]) -> dict[str, str]:
    """The digests of modules of the library, by their paths within it."""
    return {name: code_digest(LIBRARY / name) for name in sorted(files)}


def training_code(method: str, network: str, from_files: bool = False) -> dict[str, str]:
    """The digests of all code behind a training: the loop, the method, the network, and what those two use.

    `from_files`: images are decoded for each batch.
    """
    loop = {name for place in LOOP for name in _modules(place)}
    images = set(_modules(FROM_FILES))
    own = {f"methods/{method}.py", f"networks/{NETWORKS[network].module}.py", *(images if from_files else ())}
    waiting = list(own)
    while waiting:
        used = [name for name in imports(LIBRARY / waiting.pop()) if name.startswith(OWN) and name not in own]
        own.update(used)
        waiting += used
    return code_digests((loop - images) | own)


def all_training_code() -> dict[str, str]:
    """The digests of all code behind any training."""
    return code_digests({name for place in (*LOOP, *OWN) for name in _modules(place)})


def evaluation_code() -> dict[str, str]:
    """The digest of the code behind an evaluation."""
    return code_digests([EVALUATION])


def _modules(place: str) -> list[str]:
    """The Python files in a folder of the library, or the one file at `place`, by their paths within it."""
    found = [LIBRARY / place] if place.endswith(".py") else (LIBRARY / place).rglob("*.py")
    return [path.relative_to(LIBRARY).as_posix() for path in found if path.name != "__init__.py"]
