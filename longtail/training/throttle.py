"""Keeping the CPU close to a GPU, which works through a queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

LEAD = 4
"""Iterations that the CPU may issue before a GPU has finished the first of them."""


class Event(Protocol):
    """What `Throttle` needs of `torch.cuda.Event`."""

    def record(self) -> None:
        """Mark this place in the device's work."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has come here."""
        ...


class Throttle:
    """Keeps the CPU at most `LEAD` iterations ahead of the device.

    Nothing else in an epoch waits, so seconds of work could queue up, which a training that is told to stop
    would have to finish first.
    """

    def __init__(self, event: Callable[[], Event]) -> None:
        self.event = event
        self.marks: deque[Event] = deque()

    @classmethod
    def of(cls, device: torch.device) -> Throttle | None:
        """None on a CPU, which queues nothing."""
        return cls(partial(torch.cuda.Event, blocking=True)) if device.type == "cuda" else None

    def __call__(self) -> None:
        """Call it after each iteration."""
        mark = self.event()
        mark.record()
        self.marks.append(mark)
        if len(self.marks) > LEAD:
            self.marks.popleft().synchronize()
