"""tau-normalisation and logit adjustment together."""

from pydantic import Field

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset


class Settings(HeadSettings):
    """Settings of tau-normalisation with logit adjustment."""

    tau: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Exponent of the length; None: the best of 0, 0.1, ..., 2 on the meta set."""
    adjustment: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Share of the prior that is taken away; None: the best of 0, 0.1, ..., 2 on the meta set."""


PRESET = Preset(
    name="tau_norm_adjustment",
    stage="retrain",
    summary="class vectors over a power of their lengths, less a share of the log prior; no training",
    settings=Settings,
    variants={"tau_norm_adjustment": {}},
    training={"iterations": 1},
    sources={
        **HEAD_SOURCES,
        "tau adjustment": "our choice: the grids of tau-normalisation and of logit adjustment",
        "training.iterations": "nothing is trained",
    },
)
