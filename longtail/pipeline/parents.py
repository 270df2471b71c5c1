"""Which processes started this one, so that a stage notices when the dvc that waits for it was killed."""

import os

SHELLS = ("sh", "dash", "bash", "ash", "zsh", "ksh", "fish")
"""dvc runs commands in a shell. Some shells become the command that they run, others wait for it."""


def ancestors() -> list[int]:
    """The parent process; while that is a shell, its parent, too."""
    found = [os.getppid()]
    while (above := parent_of_shell(found[-1])) is not None:
        found.append(above)
    return found


def parent_of_shell(process: int) -> int | None:
    """The parent of a process that is a shell; None for any other process, or one that is gone."""
    import psutil

    try:
        found = psutil.Process(process)
        return found.ppid() if found.name() in SHELLS else None
    except psutil.Error:
        return None
