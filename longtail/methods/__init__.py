"""Methods by name, one file each; see `longtail.training.method` for what a method may decide."""

from importlib import import_module
from typing import Any

from longtail.config.presets import METHODS
from longtail.training.method import Method, Task


def find_method(name: str) -> type[Method]:
    """The class of the method `name`: what its module calls METHOD. Raises KeyError."""
    return import_module(f"longtail.methods.{METHODS[name].name}").METHOD


def build_method(name: str, settings: dict[str, Any], task: Task) -> Method:
    """The method `name`, ready to train."""
    return find_method(name)(settings, task)
