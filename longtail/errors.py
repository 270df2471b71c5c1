"""What can go wrong without a mistake in the code."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import Repr
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationError


def shown(value: Path | str) -> str:
    """`value` as part of one line, whatever characters it holds."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class InputError(Exception):
    """Something the user gave is wrong: one line with the place, the problem (and value found), the remedy.

    Stages print it on stderr and exit with code 2; nothing that existed before has changed. Code that reads a
    file which a stage made gives no remedy: the stage knows the command that makes it again.
    """

    def __init__(self, where: Path | str, problem: object, remedy: str | None = None) -> None:
        super().__init__(where, problem, remedy)
        self.place, self.where = where, shown(where)
        self.problem, self.remedy = str(problem), remedy

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}"
        return line if self.remedy is None else f"{line}; {self.remedy}"


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


def and_more(names: Sequence[object], most: int, separator: str = ", ") -> str:
    """The first `most` names, safe to print, and the number of the others: `a, b and 3 more`."""
    first = separator.join(shown(str(name)) for name in names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most} more"


def flat(error: BaseException) -> str:
    """What `error` says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def found_value(value: object) -> str:
    """`value` as a piece of one line, some hundred characters at most whatever it holds."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # an integer of thousands of digits
        return f"a value of type {type(value).__name__}"


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic in one line: key, value found, value wanted."""
    key, complaint = first_complaint(error)
    return f"{key}: {complaint}" if key else complaint


def first_complaint(error: ValidationError) -> tuple[str, str]:
    """The key of pydantic's first complaint, empty if it is about the whole, and the complaint."""
    first = error.errors()[0]
    key = ".".join(_key(str(part)) for part in first["loc"])
    if first["type"] == "missing":
        return key, "missing; add it"
    wanted = " ".join(first["msg"].removeprefix("Value error, ").split())
    if not key:  # the whole input would be too long to show
        return key, wanted
    more = f" and {error.error_count() - 1} more" if error.error_count() > 1 else ""
    return key, f"found {found_value(first['input'])}; {wanted[0].lower()}{wanted[1:]}{more}"


def _key(text: str) -> str:
    return text if text.isprintable() and len(text) <= 100 else found_value(text)
