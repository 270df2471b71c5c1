"""Methods by name, one file each; see `longtail.method` for what a method may decide."""

from __future__ import annotations

from typing import Any

from longtail.method import Method, Task
from longtail.methods.balanced_softmax import BalancedSoftmax
from longtail.methods.cross_entropy import CrossEntropy
from longtail.methods.crt import CRT
from longtail.methods.difficulty_net import DifficultyNetMethod
from longtail.methods.las import LAS
from longtail.methods.lws import LWS

CLASSES: dict[str, type[Method]] = {
    "cross_entropy": CrossEntropy,
    "balanced_softmax": BalancedSoftmax,
    "difficulty_net": DifficultyNetMethod,
    "crt": CRT,
    "lws": LWS,
    "las": LAS,
}


def build_method(name: str, settings: dict[str, Any], task: Task) -> Method:
    """The method `name`, ready to train."""
    return CLASSES[name](settings, task)
