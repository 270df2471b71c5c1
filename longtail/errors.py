"""What can go wrong without a mistake in the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(Exception):
    """Something a person gave is wrong.

    The message is one line that names the file (or parameter), the value found, and the remedy. Stages
    print it on stderr and leave with exit code 2; nothing that existed before has been changed.
    """


class DivergedError(Exception):
    """The numbers of a training are not finite, so it stopped. The message is one line.

    `iteration`: how many were done, the bad one included.
    """

    def __init__(self, message: str, iteration: int) -> None:
        super().__init__(message)
        self.iteration = iteration


class MachineError(Exception):
    """What a training stands on gave way: a worker was killed, a disk is full. The message is one line.

    The last good state lies where it was.
    """


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic, in one line: where, what was found, what is wanted."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{where}: missing; add it"
    wanted = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: found {first['input']!r}; {wanted[0].lower()}{wanted[1:]}{more}"
