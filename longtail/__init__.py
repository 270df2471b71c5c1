"""Long-tailed recognition: Difficulty-Net, the methods it is compared with, and what proves them.

Nothing here knows of DVC, MLflow or the command line; the stages of the pipeline do. The names below are for
a training loop of your own (`docs/own_loop.md`); each is imported when it is first used: most need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.config.presets import METHODS as METHODS
    from longtail.errors import InputError as InputError
    from longtail.meta.difficulty import DifficultyNet as DifficultyNet
    from longtail.meta.difficulty import class_weights as class_weights
    from longtail.meta.difficulty import driver_loss as driver_loss
    from longtail.meta.meta_gradient import weight_gradient as weight_gradient
    from longtail.meta.tangents import Forward as Forward
    from longtail.meta.tangents import call_without_trace as call_without_trace
    from longtail.own_loop import EpochBatches as EpochBatches
    from longtail.own_loop import make_method as make_method
    from longtail.own_loop import shot_group_accuracy as shot_group_accuracy
    from longtail.training.method import Batch as Batch
    from longtail.training.method import Method as Method
    from longtail.training.method import StepInfo as StepInfo
    from longtail.training.samplers import ClassAwareSampler as ClassAwareSampler
    from longtail.training.samplers import ShuffledSampler as ShuffledSampler
    from longtail.training.trainer import class_accuracy as class_accuracy

_PUBLIC = {
    "meta.difficulty": ["DifficultyNet", "class_weights", "driver_loss"],
    "errors": ["InputError"],
    "meta.meta_gradient": ["weight_gradient"],
    "training.method": ["Batch", "Method", "StepInfo"],
    "own_loop": ["EpochBatches", "make_method", "shot_group_accuracy"],
    "config.presets": ["METHODS"],
    "training.samplers": ["ClassAwareSampler", "ShuffledSampler"],
    "meta.tangents": ["Forward", "call_without_trace"],
    "training.trainer": ["class_accuracy"],
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longtail' has no attribute {name!r}")
    return getattr(import_module(f"longtail.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
