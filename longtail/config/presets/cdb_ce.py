"""CDB-CE (Sinha et al., ACCV 2020)."""

from math import inf
from typing import Annotated, Literal

from pydantic import BeforeValidator

from longtail.config.presets.preset import Preset
from longtail.config.records import Strict


def number_or_dynamic(value: object) -> object:
    """`value`, where it can be tau. Raises ValueError, with one message for text and numbers alike."""
    if value in ("dynamic", "dynamic_released"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf:
        return value
    raise ValueError("tau is a number of at least 0, dynamic, or dynamic_released")


class Settings(Strict):
    """Settings of CDB-CE."""

    tau: Annotated[float | Literal["dynamic", "dynamic_released"], BeforeValidator(number_or_dynamic)] = 1.0
    """Exponent of the difficulties. 1 is the default of Difficulty-Net's code; which one its tables use is
    not said. The publication has 0.5, 1, 1.5, 2, 5 and dynamic; dynamic_released is what the CIFAR script of
    CDB-loss trains with, its default."""
    difficulty: Literal["linear", "concave", "convex", "exponential", "relative"] = "linear"
    """Of the accuracy a: 1-a as published; for Figure 1 also 1-a^2, (1-a)^2 and exp(-a); relative:
    1 - a/(sum of all a), row #5 of Table 4."""


PRESET = Preset(
    name="cdb_ce",
    stage="represent",
    summary="cross-entropy weighted by the difficulty of each class, a function of its accuracy",
    settings=Settings,
    variants={
        "cdb_ce": {},
        "cdb_ce_dynamic": {"tau": "dynamic"},
        "cdb_ce_concave": {"difficulty": "concave"},
        "cdb_ce_convex": {"difficulty": "convex"},
        "cdb_ce_exponential": {"difficulty": "exponential"},
        "cdb_ce_relative": {"difficulty": "relative"},
    },
    sources={
        "tau": "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment.py; the CIFAR script of CDB-loss has "
        "dynamic, by its own formula",
        "difficulty": "Sinha et al., ACCV 2020",
    },
)
