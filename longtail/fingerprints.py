"""The fingerprint of a cell: a hash of everything that decides its result."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from longtail.benchmarks import Training
from longtail.plans import BundlePlan, Cell
from longtail.presets import METHODS

LIBRARY = Path(__file__).parent

CODE = (
    "augment.py",
    "cells.py",
    "difficulty_net.py",
    "meta_gradient.py",
    "method.py",
    "networks/residual.py",
    "optimisers.py",
    "randomness.py",
    "samplers.py",
    "schedules.py",
    "trainer.py",
    "training_data.py",
)
"""The modules whose code decides what a training gives, beside that of its method."""


@lru_cache
def code_digest(path: Path) -> str:
    """Hash of what a module does: comments, docstrings and layout do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return hashlib.sha256(repr(_form(tree)).encode()).hexdigest()


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


def fingerprint(plan: BundlePlan, cell: Cell, manifests: dict[str, str]) -> str:
    """Hex sha256 of everything that decides the result of `cell`.

    `manifests` are the fingerprints of training set, meta set and pool ("train", "meta", "pool"). A head's
    fingerprint contains that of the features below it. Names do not count: two variants of equal settings
    are one training.
    """
    facts: dict[str, Any] = {
        "benchmark": plan.benchmark,
        "imbalance": plan.imbalance,
        "network": plan.network,
        "pixels": {"mean": plan.mean, "std": plan.std},
        "seed": cell.seed,
        "manifests": manifests,
    }
    if cell.head is None:
        facts |= _training_facts(plan.method, plan.settings, plan.training)
    else:
        head = plan.heads[cell.head]
        below = Cell(cell.benchmark, cell.imbalance, cell.variant, cell.variant, None, cell.seed)
        facts |= _training_facts(cell.head, head.settings, head.training)
        facts["features"] = fingerprint(plan, below, manifests)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _training_facts(method: str, settings: dict[str, Any], training: Training) -> dict[str, Any]:
    # a method may take its loss from another method's file; heads are scaled classifiers
    files = {*CODE, *(f"methods/{name}.py" for name in {method, settings.get("loss", method)})}
    if METHODS[method].stage == "retrain":
        files.add("heads.py")
    return {
        "method": method,
        "settings": settings,
        "training": training.model_dump(mode="json"),
        "code": {name: code_digest(LIBRARY / name) for name in sorted(files)},
    }
