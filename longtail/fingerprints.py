"""The fingerprint of a cell: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from longtail.benchmarks import Training
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
    if plan.pretrained is not None:
        facts["pretrained"] = plan.pretrained
    if cell.head is None:
        facts |= _training_facts(plan.method, plan.settings, plan.training, plan.code)
    else:
        head = plan.heads[cell.head]
        below = Cell(cell.benchmark, cell.imbalance, cell.variant, cell.variant, None, cell.seed)
        facts |= _training_facts(cell.head, head.settings, head.training, head.code)
        facts["features"] = fingerprint(plan, below, manifests)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _training_facts(
    method: str, settings: dict[str, Any], training: Training, code: dict[str, str]
) -> dict[str, Any]:
    return {
        "method": method,
        "settings": settings,
        "training": training.model_dump(mode="json"),
        "code": code,
    }
