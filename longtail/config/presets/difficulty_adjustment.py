"""Difficulty-adjusted logits, this project's own."""

from pydantic import Field

from longtail.config.presets.preset import HEAD_SOURCES, HeadSettings, Preset


class Settings(HeadSettings):
    """Settings of difficulty-adjusted logits."""

    tau: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Share of the log-odds of an error that is added; None: the best of 0, 0.1, ..., 2 on the meta set."""


PRESET = Preset(
    name="difficulty_adjustment",
    stage="retrain",
    summary="our own: stage 1's logits plus a share of the log-odds of an error on the meta set; no training",
    settings=Settings,
    variants={"difficulty_adjustment": {}},
    training={"iterations": 1},
    sources={
        **HEAD_SOURCES,
        "tau": "our choice: the grid of tau-normalisation; 1 is even odds for every class",
        "training.iterations": "nothing is trained",
    },
)
