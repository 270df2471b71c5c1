"""The fingerprint of a cell: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from longtail.config.training import Training

if TYPE_CHECKING:
    from longtail.planning.plans import BundlePlan, Cell


def fingerprint(plan: BundlePlan, cell: Cell, manifests: dict[str, str]) -> str:
    """Hex sha256 of `fingerprint_facts`."""
    return digest(fingerprint_facts(plan, cell, manifests))


def digest(facts: Mapping[str, Any]) -> str:
    """Hex sha256 of facts, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def fingerprint_facts(plan: BundlePlan, cell: Cell, manifests: dict[str, str]) -> dict[str, Any]:
    """Everything that decides the result of `cell`, as JSON has it.

    `manifests` are the fingerprints of training set, meta set and pool ("train", "meta", "pool"). A head's
    facts contain those of the features below it. Names do not count: two variants of equal settings are one
    training.
    """
    facts: dict[str, Any] = {
        "benchmark": plan.benchmark,
        "imbalance": plan.imbalance,
        "network": plan.network,
        "pixels": {"mean": list(plan.mean), "std": list(plan.std)},
        "seed": cell.seed,
        "manifests": manifests,
    }
    if plan.pretrained is not None:
        facts["pretrained"] = plan.pretrained
    if cell.head is None:
        facts |= _training_facts(plan.method, plan.settings, plan.training, plan.code)
    else:
        head = plan.heads[cell.head]
        facts |= _training_facts(cell.head, head.settings, head.training, head.code)
        facts["features"] = fingerprint_facts(plan, cell.below, manifests)
    ranks = plan.features_ranks if cell.head is None and plan.stage == "retrain" else plan.ranks
    if ranks > 1:
        facts["ranks"] = ranks
    return json.loads(json.dumps(facts, allow_nan=False))  # as it comes back from a file


def recipe(plan: BundlePlan, cell: Cell) -> str:
    """Like `fingerprint`, without the images, so that a plan can hold it."""
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


HASHED = {"code": "longtail/{} changed", "manifests": "the images of {} changed"}
"""What a changed hash means, by the name of the facts that hold it."""


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """How two `fingerprint_facts` differ: `training.iterations 6 there, 150 here`."""
    return _differences(found, expected, ())


def _differences(found: Any, expected: Any, path: tuple[str, ...]) -> list[str]:
    if found == expected:
        return []
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = [*expected, *(key for key in found if key not in expected)]
        return [
            line
            for key in keys
            for line in _differences(found.get(key, "nothing"), expected.get(key, "nothing"), (*path, key))
        ]
    if len(path) > 1 and path[-2] in HASHED:
        return [HASHED[path[-2]].format(path[-1])]
    return [f"{'.'.join(path)} {_shown(found)} there, {_shown(expected)} here"]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "something"
    return value if isinstance(value, str) else json.dumps(value)
