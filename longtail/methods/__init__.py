"""Methods by name, one file each; see `longtail.method` for what a method may decide."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from longtail.method import Method, Task
from longtail.presets import METHODS


def find_method(name: str) -> type[Method]:
    """The class of the method `name`: what its module calls METHOD. Raises KeyError."""
    return import_module(f"longtail.methods.{METHODS[name].name}").METHOD


def build_method(name: str, settings: dict[str, Any], task: Task) -> Method:
    """The method `name`, ready to train."""
    return find_method(name)(settings, task)
