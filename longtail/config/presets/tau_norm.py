"""tau-normalisation (Kang et al., ICLR 2020)."""

from typing import Literal

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Preset


class Settings(Strict):
    """Settings of tau-normalisation."""

    start: Literal["selected", "last"] = "selected"
    """Which weights of the representation: best on the meta set (authors' code), or the last."""
    tau: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Exponent of the length; None: the best of 0, 0.1, ..., 2 on the meta set."""


PRESET = Preset(
    name="tau_norm",
    stage="retrain",
    summary="stage 1's class vectors over a power of their lengths, chosen on the meta set; no training",
    settings=Settings,
    variants={"tau_norm": {}},
    training={"iterations": 1},
)
