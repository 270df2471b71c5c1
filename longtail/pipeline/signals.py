"""Ctrl-C and SIGTERM, noted while an executor works."""

from __future__ import annotations

import os
import signal
from typing import Any

from longtail.pipeline.parents import ancestors


def note_signals(noted: Any) -> dict[int, Any]:
    """Let Ctrl-C and SIGTERM only set `noted.value` to their number; return the previous handlers."""

    def note(number: int, frame: object) -> None:
        noted.value = number

    return {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}


class Signals:
    """Notes signals from now until `restore`; `noted` is an object with a `value`, 0 at first."""

    def __init__(self, noted: Any) -> None:
        self._noted = noted
        self._before = note_signals(noted)
        self._ancestors = ancestors()

    @property
    def received(self) -> int:
        """The signal received, or 0."""
        if "DVC_ROOT" in os.environ and ancestors() != self._ancestors:
            self.stop()  # dvc was killed: nobody waits for this stage
        return self._noted.value

    def stop(self) -> None:
        """Note SIGTERM, unless a signal was received."""
        self._noted.value = self._noted.value or signal.SIGTERM

    def restore(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
