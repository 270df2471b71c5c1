"""Checkpoints: saving the state of a training, finding damage, and when to save.

A file is one line, `longtail checkpoint <sha256 of the rest>`, followed by the output of `torch.save`.
"""

import errno
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from longtail.errors import InputError
from longtail.files import own_temporary, remove_leftovers
from longtail.planning.fingerprints import differences

MARK = b"longtail checkpoint "


class DamagedError(Exception):
    """A file is not as it was written."""


@dataclass
class Checkpoints:
    """The last two states of one training; the older is a fallback for a damaged newer one."""

    path: Path
    """The newer; the older is `checkpoint.previous.pt` in the same folder."""
    fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The facts behind `fingerprint`, to name how another training differs."""
    warn: Callable[[str], None] = lambda line: None
    """Receives one line about a file that cannot be used."""

    @property
    def previous(self) -> Path:
        """The file of the older state."""
        return self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}")

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`, read it back, and only then give up the older of the two that are there.

        Raises OSError if the disk is full or what comes back is not what was written; the two then stay.
        """
        content = io.BytesIO()
        found = {"fingerprint": self.fingerprint, "facts": dict(self.facts), "state": state}
        torch.save(found, content)
        payload = content.getbuffer()
        checksum = hashlib.sha256(payload).hexdigest()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = own_temporary(self.path)
        try:
            with temporary.open("wb") as file:
                file.write(MARK + checksum.encode() + b"\n")
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            try:
                read_payload(temporary)
            except DamagedError as error:
                raise OSError(errno.EIO, f"{error} right after it was written", str(temporary)) from None
            # at any moment one of the two names is a whole file
            if self.path.exists():
                self.path.replace(self.previous)
            temporary.replace(self.path)
        finally:
            payload.release()  # it would keep `content` from being freed
            temporary.unlink(missing_ok=True)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest intact state of this training, or None.

        Raises InputError for a state of this training with another number of ranks.
        """
        remove_leftovers(self.path.parent)
        for path in (self.path, self.previous):
            if not path.is_file():
                continue
            try:
                found = read_checkpoint(path, device)
            except DamagedError as error:
                self.warn(f"{path}: {error}; {self._instead(path, device)}")
                continue
            if found["fingerprint"] == self.fingerprint:
                return found["state"]
            self._check_ranks(path, found["facts"])
            reasons = differences(found["facts"], self.facts) or [f"fingerprint {found['fingerprint'][:12]}"]
            self.warn(f"{path}: is of another training ({'; '.join(reasons)}) and is left alone")
        return None

    def _check_ranks(self, path: Path, found: Mapping[str, Any]) -> None:
        there, here = (facts.get("ranks", 1) for facts in (found, self.facts))
        if there != here and {**found, "ranks": here} == {**self.facts, "ranks": here}:
            raise InputError(
                path,
                f"of this training with {_counted(there)}, which cannot be resumed with {_counted(here)}",
                f"start {_counted(there)}, or delete it to train from the beginning",
            )

    def _instead(self, path: Path, device: torch.device) -> str:
        if path == self.path and self.previous.is_file():
            try:
                before = read_checkpoint(self.previous, device)
                return f"resuming from the previous one, iteration {before['state']['iteration']}"
            except DamagedError:
                return "so it is no use"
        return "starting over"

    def remove(self) -> None:
        """Delete both."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # nothing else is there if several ranks trained


def _counted(ranks: int) -> str:
    return "1 process" if ranks == 1 else f"{ranks} ranks"


def read_payload(path: Path) -> bytes:
    """The content of `path` after its first line. Raises DamagedError if the checksum differs."""
    with path.open("rb") as file:
        first, payload = file.readline(200), file.read()
    if not first.startswith(MARK):
        raise DamagedError("is damaged: not a checkpoint")
    if first != MARK + hashlib.sha256(payload).hexdigest().encode() + b"\n":
        raise DamagedError("is damaged: truncated or changed, by its checksum")
    return payload


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """`fingerprint`, `facts` and `state` of a file. Raises DamagedError; never runs code from the file."""
    payload = io.BytesIO(read_payload(path))
    try:
        found = torch.load(payload, map_location=device, weights_only=True)
    except Exception:  # intact, but not ours: anything can fail
        raise DamagedError("is damaged: its content cannot be read") from None
    if not isinstance(found, dict) or set(found) != {"fingerprint", "facts", "state"}:
        raise DamagedError("is damaged: no state of a training in it")
    return found


class SaveRhythm:
    """When to save: after an epoch if that costs no more than a share of the time, and in any case after a
    while, also within an epoch."""

    def __init__(self, share: float, longest: float) -> None:
        """`share` of the training time; `longest` time in seconds without a checkpoint."""
        self.share, self.longest = share, longest
        self.start = self.last = time.monotonic()
        self.spent = 0.0
        self.expected = 0.01
        """Seconds of the next save: as long as the last one, at first a guess."""

    def due(self, between_epochs: bool) -> bool:
        """Whether to save now."""
        now = time.monotonic()
        if now - self.last >= self.longest:
            return True
        return between_epochs and self.spent + self.expected <= self.share * (now - self.start)

    def saved(self, since: float) -> None:
        """Record a save that began at `since` (`time.monotonic`) and ends now."""
        self.last = time.monotonic()
        self.expected = self.last - since
        self.spent += self.expected
