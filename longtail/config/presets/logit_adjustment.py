"""Post-hoc logit adjustment (Menon et al., ICLR 2021)."""

from pydantic import Field

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset


class Settings(HeadSettings):
    """Settings of post-hoc logit adjustment."""

    tau: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Share of the prior that is taken away; None: the best of 0, 0.1, ..., 2 on the meta set."""


PRESET = Preset(
    name="logit_adjustment",
    stage="retrain",
    summary="stage 1's logits less a share of the log prior, chosen on the meta set; no training",
    settings=Settings,
    variants={"logit_adjustment": {}},
    training={"iterations": 1},
    sources={
        **HEAD_SOURCES,
        "tau": "Menon et al., ICLR 2021: 1, or tuned on held-out images; grid as for tau-normalisation",
        "training.iterations": "nothing is trained",
    },
)
