"""tau-normalisation (Kang et al., ICLR 2020)."""

from pydantic import Field

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset


class Settings(HeadSettings):
    """Settings of tau-normalisation."""

    tau: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Exponent of the length; None: the best of 0, 0.1, ..., 2 on the meta set."""


PRESET = Preset(
    name="tau_norm",
    stage="retrain",
    summary="stage 1's class vectors over a power of their lengths, chosen on the meta set; no training",
    settings=Settings,
    variants={"tau_norm": {}},
    training={"iterations": 1},
    sources={
        **HEAD_SOURCES,
        "tau": "Kang et al., ICLR 2020: chosen on held-out images; the grid is that of their code",
        "training.iterations": "nothing is trained",
    },
)
