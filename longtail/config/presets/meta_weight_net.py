"""Meta-Weight-Net (Shu et al., NeurIPS 2019)."""

from typing import Literal

from pydantic import Field

from longtail.config.presets.preset import LOOK_AHEAD, Preset
from longtail.config.records import Strict


class Settings(Strict):
    """Settings of Meta-Weight-Net; defaults are those of the authors' class-imbalance release."""

    level: Literal["sample", "class"] = "sample"
    """What V weighs: images, by their losses (published), or classes, by their accuracies (our reading of
    Difficulty-Net's ablation "CDB-CE + MWN")."""
    detach_input: bool = False
    """At level sample: whether the losses that go into V are constants in the inner step, as in the authors'
    noisy-label release."""
    meta_batches: Literal["draws", "passes"] = "draws"
    """draws: images of the meta set, drawn again at each step and augmented as training images are, as in the
    release. passes: shuffled passes without augmentation, as in Difficulty-Net's code."""
    hidden: int = Field(100, ge=1, le=65536)
    """Width of V's hidden layer."""
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    """Of SGD on theta."""
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    """Of SGD on theta (added to the gradient)."""


PRESET = Preset(
    name="meta_weight_net",
    stage="represent",
    summary="weights of images, a meta-learned function of their losses (of classes: of their accuracies)",
    settings=Settings,
    passes=lambda settings: LOOK_AHEAD,
    benchmarks={"digits-lt": {"learning_rate": 1e-2}},
    # the second is an ablation of Difficulty-Net, so it has that method's meta batches
    variants={"meta_weight_net": {}, "cdb_ce_mwn": {"level": "class", "meta_batches": "passes"}},
    sources={
        "level detach_input meta_batches hidden learning_rate weight_decay": "the authors' class-imbalance "
        "code",
        "digits-lt.learning_rate": "our choice, because in 150 iterations 1e-5 leaves theta where it starts; "
        "the best of 1e-5, 0.01, 0.03, 0.1 and 0.3 on the meta set",
    },
)
