"""The fingerprint of a cell: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longtail.benchmarks import Training

if TYPE_CHECKING:
    from longtail.plans import BundlePlan, Cell


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
        facts |= _training_facts(plan.method, plan.settings, plan.training, plan.code)
    else:
        head = plan.heads[cell.head]
        facts |= _training_facts(cell.head, head.settings, head.training, head.code)
        facts["features"] = fingerprint(plan, features_of(cell), manifests)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def features_of(cell: Cell) -> Cell:
    """The cell whose features a head's `cell` stands on."""
    return replace(cell, bundle=cell.variant, head=None)


def recipe(plan: BundlePlan, cell: Cell) -> str:
    """Like `fingerprint`, but of all that is known before there are images: a plan can hold it."""
    return fingerprint(plan, cell, {})


def _training_facts(
    method: str, settings: dict[str, Any], training: Training, code: dict[str, str]
) -> dict[str, Any]:
    return {
        "method": method,
        "settings": settings,
        "training": training.model_dump(mode="json"),
        "code": code,
    }
