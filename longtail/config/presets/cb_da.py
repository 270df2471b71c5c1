"""CB-DA (Jamal et al., CVPR 2020)."""

from pydantic import Field

from longtail.config.benchmarks import Strict
from longtail.config.presets.preset import Passes, Preset


class Settings(Strict):
    """Settings of CB-DA; defaults are those of the authors' code."""

    start: float = Field(0.8, ge=0, le=1)
    """Part of the training before the first epoch with weights: 160 of 200 epochs in the authors' code."""
    beta: float = Field(0.9999, ge=0, lt=1)
    """Of the class-balanced weights."""
    epsilon_learning_rate: float = Field(0.01, ge=0, allow_inf_nan=False)
    """eta, the size of the step on eps; 0 leaves class-balanced cross-entropy."""


PRESET = Preset(
    name="cb_da",
    stage="represent",
    summary="class-balanced weights plus a meta-learned term for every image, late in the training",
    settings=Settings,
    passes=lambda settings: Passes(3 + 4 * (1 - settings["start"]), 3 * (1 - settings["start"])),
    # at most 114 images a class: with 0.9999 the weights would be inverse counts. The learning rate first
    # drops at half of the training; in the authors' schedule it does so at 0.8
    benchmarks={"digits-lt": {"beta": 0.99, "start": 0.5}},
    variants={"cb_da": {}},
)
