"""DisAlign (Zhang et al., CVPR 2021)."""

from pydantic import Field

from longtail.config.presets.preset import BATCH_NORM, TRAINED_HEAD_SOURCES, Preset, TrainedHeadSettings


class Settings(TrainedHeadSettings):
    """Settings of DisAlign."""

    rho: float = Field(1.2, ge=0, allow_inf_nan=False)
    """Class weights are proportional to pi_c^(-rho); 1.2 is the published value on ImageNet-LT."""


PRESET = Preset(
    name="disalign",
    stage="retrain",
    summary="the frozen classifier's logits under a learned calibration, re-weighted cross-entropy",
    settings=Settings,
    benchmarks={"imagenet-lt": BATCH_NORM, "places-lt": BATCH_NORM},
    variants={"disalign": {}},
    training={"sampler": "shuffled"},
    sources={
        **TRAINED_HEAD_SOURCES,
        "rho": "the published value on ImageNet-LT; none is known to us elsewhere",
        "training.sampler": "Zhang et al.: weights, not the sampler, balance the classes",
    },
)
