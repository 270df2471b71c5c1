"""Who started this process, so that a stage notices when the dvc that waits for it was killed."""

from __future__ import annotations

import os
from pathlib import Path

SHELLS = ("sh", "dash", "bash", "ash", "zsh", "ksh", "fish")
"""dvc runs commands in a shell. Some shells become the command that they run, others wait for it."""


def forebears() -> list[int]:
    """The parent; and where that is a shell, on Linux, its parent, and so on to one that is none."""
    found = [os.getppid()]
    while (above := parent_of_shell(found[-1])) is not None:
        found.append(above)
    return found


def parent_of_shell(process: int) -> int | None:
    """The parent of a process that is a shell; None for any other, and where the system does not tell."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")  # the name may hold brackets
    return int(rest.split()[1]) if name in SHELLS else None
