"""YAML 1.2: `1e-05` is a number, `yes` is text, and a key must not appear twice."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from longtail.errors import InputError, found_value

if TYPE_CHECKING:
    from pathlib import Path

BROKEN_VALUES = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What the parser raises besides its own errors, such as for `2001-99-99`, `!!bool x` or deep nesting."""


DEEPEST = 100
"""Levels of brackets; our own files have five."""


class Readable(Protocol):
    """A path, or a resource of a package."""

    def read_text(self, encoding: str) -> str:
        """The whole text."""
        ...


def read_yaml(path: Readable, where: Path | str | None = None, aliases: bool = True) -> Any:
    """The value in the file `path`, called `where` in errors. Raises InputError and OSError.

    `aliases`: whether aliases are allowed; a few lines of them can stand for more values than fit in memory.
    """
    name = str(where or path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(name, f"not YAML: {error}", "save it as UTF-8") from None
    return parse_yaml(text, name, aliases)


def parse_yaml(text: str, name: str, aliases: bool = True) -> Any:
    """The value in `text`; see `read_yaml`. Raises InputError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    deepest = max(accumulate((c in "[{") - (c in "]}") for c in text), default=0)
    if deepest > DEEPEST:  # the parser takes seconds for thousands of levels, and then fails
        raise InputError(name, f"not YAML: nested {deepest} levels deep", "correct that line")
    try:
        for event in [] if aliases else YAML(typ="safe").parse(text):
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise InputError(name, f"an alias (line {line})", "write the value itself there")
        return YAML(typ="safe").load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        key = text.splitlines()[mark.line][mark.column :].partition(":")[0]
        problem = f"key {found_value(key)} appears twice (line {mark.line + 1})"
        raise InputError(name, problem, "keep one") from None
    except (YAMLError, *BROKEN_VALUES) as error:
        raise InputError(name, f"not YAML: {' '.join(str(error).split())}", "correct that line") from None


def yaml_text(value: Any) -> str:
    """`value` as block YAML, keys in their order, long lines unbroken."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe"), StringIO()
    yaml.default_flow_style, yaml.width = False, 1000
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(value, text)
    return text.getvalue()
