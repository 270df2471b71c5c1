"""What a worker and its client must have in common."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from longtail.planning.code import all_training_code
from longtail.planning.fingerprints import HASHED
from longtail.running.process import deterministic_wanted

PACKAGES = ("torch", "torchvision", "numpy", "pyarrow", "dask", "distributed")


def facts() -> dict[str, Any]:
    """Code, versions and mode of this process; taken once, before it imports the code of a training."""
    return {
        "versions": {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "deterministic": deterministic_wanted(),
        "code": all_training_code(),
    }


def difference(found: Mapping[str, Any], own: Mapping[str, Any], device: str) -> str | None:
    """Why a worker with the facts `found` may not train for a client with `own`, in one line; None: it may.

    Both also have `probe`, what they read from the shared folder, and `pool`, the pool's fingerprint; the
    worker has `gpus`, the number it sees, and `device`. The client wants `device`, or any with "auto".
    """
    for name, here in own["versions"].items():
        if found["versions"].get(name) != here:
            return f"{name} {found['versions'].get(name)} there, {here} here"
    changed = [
        name for name in {**own["code"], **found["code"]} if found["code"].get(name) != own["code"].get(name)
    ]
    if changed:
        more = f" and {len(changed) - 1} more files differ" if len(changed) > 1 else ""
        return HASHED["code"].format(changed[0]).replace("changed", "differs") + more
    if found["probe"] != own["probe"]:
        return f"it does not read {own['place']}; mount the repository's folder at the same path"
    if found["pool"] != own["pool"]:
        return "its data/ has another pool of images"
    if found["deterministic"] != own["deterministic"]:
        return "LONGTAIL_DETERMINISTIC=1 is set on one side only"
    if found["gpus"] > 1:
        return f"it sees {found['gpus']} GPUs"
    if device not in ("auto", found["device"]):
        return f"it trains on {found['device']}, and --device {device} was asked for"
    return None
