"""What can go wrong without a mistake in the code."""

from __future__ import annotations

from reprlib import Repr
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


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def found_value(value: object) -> str:
    """`value` as a piece of one line, some hundred characters at most whatever it holds."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # an integer of thousands of digits
        return f"a value of type {type(value).__name__}"


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic, in one line: where, what was found, what is wanted."""
    first = error.errors()[0]
    where = ".".join(_key(str(part)) for part in first["loc"])
    if first["type"] == "missing":
        return f"{where}: missing; add it"
    if not where:  # of the whole, which would be too long to show
        return " ".join(first["msg"].removeprefix("Value error, ").split())
    wanted = " ".join(first["msg"].removeprefix("Value error, ").split())
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: found {found_value(first['input'])}; {wanted[0].lower()}{wanted[1:]}{more}"


def _key(text: str) -> str:
    return text if text.isprintable() and len(text) <= 100 else found_value(text)
