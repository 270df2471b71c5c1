"""Records: immutable, without unknown fields; and where their values come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Strict(Frozen):
    """Like `Frozen`, for values from the user: no text is converted to a number, no boolean to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def source_of(settings: Collection[str], sources: Mapping[str, str]) -> str | None:
    """The last of `sources` whose key, one or more names, has one of `settings`; None: there is none."""
    found = [text for names, text in sources.items() if set(settings) & set(names.split())]
    return found[-1] if found else None
