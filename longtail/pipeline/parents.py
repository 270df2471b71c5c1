"""Which processes started this one: what dvc was asked for, and whether the dvc that waits was killed."""

import os
from pathlib import Path

SHELLS = ("sh", "dash", "bash", "ash", "zsh", "ksh", "fish")
"""dvc runs commands in a shell. Some shells become the command that they run, others wait for it."""


def ancestors() -> list[int]:
    """The parent process; while that is a shell, its parent, too."""
    found = [os.getppid()]
    while (above := parent_of_shell(found[-1])) is not None:
        found.append(above)
    return found


def dvc_command() -> list[str] | None:
    """The words after `dvc` of the command that runs this stage; None if dvc does not."""
    import psutil

    try:
        words = psutil.Process(ancestors()[-1]).cmdline()
    except psutil.Error:
        return None
    found = [place for place, word in enumerate(words) if Path(word).name == "dvc"]
    return words[found[0] + 1 :] if found else None


def parent_of_shell(process: int) -> int | None:
    """The parent of a process that is a shell; None for any other process, or one that is gone."""
    import psutil

    try:
        found = psutil.Process(process)
        return found.ppid() if found.name() in SHELLS else None
    except psutil.Error:
        return None
