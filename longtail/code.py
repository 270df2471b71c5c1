"""Which code decides a result: digests of modules, by file."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parent

TRAINING_CODE = (
    "augment.py",
    "autoaugment.py",
    "cells.py",
    "difficulty_net.py",
    "finite.py",
    "graphs.py",
    "image_operations.py",
    "meta_gradient.py",
    "method.py",
    "optimisers.py",
    "precision.py",
    "randomness.py",
    "samplers.py",
    "schedules.py",
    "second_view.py",
    "tangents.py",
    "trainer.py",
    "training_data.py",
    "transfers.py",
)
"""The modules whose code decides what a training gives, beside that of its method."""

NETWORK_CODE = {
    "digits_resnet": ("networks/residual.py",),
    "resnet32": ("networks/residual.py",),
    **dict.fromkeys(("resnet10", "resnet50", "resnet152"), ("networks/imagenet.py", "networks/cosine.py")),
}
"""Where the code of each network is."""

FILE_CODE = ("decoders.py", "file_images.py", "image_files.py", "photographs.py")
"""What decides the batches where images stay files."""

METHOD_CODE = ("heads.py", "methods/", "networks/")
"""Where the code of a method may come from, beside its own module and those of every training."""

EVALUATION_CODE = ("accuracy.py", "calibration.py", "profiles.py")
"""The modules whose code decides what an evaluation gives."""


@lru_cache
def read_module(path: Path) -> tuple[str, tuple[str, ...]]:
    """What `code_digest` and `imports` say of a module, from one look at it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node.module.removeprefix("longtail.").replace(".", "/") + ".py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("longtail.")
    ]
    return hashlib.sha256(repr(_form(tree)).encode()).hexdigest(), tuple(found)


def code_digest(path: Path) -> str:
    """Hash of what a module does: comments, docstrings and layout do not count."""
    return read_module(path)[0]


def imports(path: Path) -> tuple[str, ...]:
    """The modules of the library that the module at `path` imports, by their paths within it."""
    return read_module(path)[1]


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
    """The digests of all code behind a training: the loop, the network, the method, and what that uses.

    `from_files`: images are decoded for each batch.
    """
    own = {*TRAINING_CODE, *NETWORK_CODE[network], *(FILE_CODE if from_files else ())}
    waiting = [f"methods/{method}.py"]
    while waiting:
        name = waiting.pop()
        if name not in own:
            own.add(name)
            waiting += [used for used in imports(LIBRARY / name) if used.startswith(METHOD_CODE)]
    return code_digests(own)
