"""The state of a training on disk, and the question whose state it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from longtail.atomic import atomic_path


def save_checkpoint(path: Path, state: dict[str, Any], fingerprint: str) -> None:
    """Write `state` for the cell of `fingerprint`, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"fingerprint": fingerprint, "state": state}, temporary)


def load_checkpoint(path: Path, fingerprint: str, device: torch.device) -> dict[str, Any] | None:
    """The state at `path`, or None where there is none, it is another cell's, or it cannot be read."""
    if not path.is_file():
        return None
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # a broken file can fail in any way; the cell then starts anew
        return None
    if not isinstance(found, dict) or found.get("fingerprint") != fingerprint:
        return None
    return found.get("state")
