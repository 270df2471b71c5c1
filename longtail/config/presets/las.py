"""Label-aware smoothing, LAS (Zhong et al., CVPR 2021)."""

from pydantic import Field

from longtail.config.presets.preset import BATCH_NORM, TRAINED_HEAD_SOURCES, Preset, TrainedHeadSettings


class Settings(TrainedHeadSettings):
    """Settings of LAS."""

    smoothing_head: float | None = Field(None, ge=0, lt=1)
    """epsilon of the largest class; None: the authors' table by imbalance."""
    smoothing_tail: float | None = Field(None, ge=0, lt=1)
    """epsilon of the smallest class; None: the authors' table by imbalance."""


PRESET = Preset(
    name="las",
    stage="retrain",
    summary="classifier and scales on frozen features with label smoothing that grows with the class",
    settings=Settings,
    benchmarks={
        "imagenet-lt": {**BATCH_NORM, "smoothing_head": 0.3, "smoothing_tail": 0.0},
        "places-lt": {**BATCH_NORM, "smoothing_head": 0.4, "smoothing_tail": 0.1},
    },
    imbalances={
        "cifar10-lt": {
            1: {"smoothing_head": 0.1, "smoothing_tail": 0.0},
            50: {"smoothing_head": 0.2, "smoothing_tail": 0.0},
            100: {"smoothing_head": 0.3, "smoothing_tail": 0.0},
        }
    },
    variants={"las": {}},
    sources={
        **TRAINED_HEAD_SOURCES,
        "smoothing_head smoothing_tail": "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment_stage2.py, "
        "by imbalance",
        "cifar10-lt.smoothing_head cifar10-lt.smoothing_tail": "MiSLAS's code at imbalance 10, 50 and 100",
        "imagenet-lt.smoothing_head imagenet-lt.smoothing_tail": "Difficulty-Net's code, "
        "ImageNet_Places-LT/config/imagenet; MiSLAS's",
        "places-lt.smoothing_head places-lt.smoothing_tail": "Difficulty-Net's code, "
        "ImageNet_Places-LT/config/places; MiSLAS's",
    },
)
