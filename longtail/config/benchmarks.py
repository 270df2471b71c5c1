"""Benchmarks: images, splits, networks and schedules, each setting with its source.

The user's choices (`params.yaml`) come on top; see `longtail.planning.planner`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from longtail.config.records import Frozen, source_of
from longtail.config.training import Cosine, Steps, Training, scaled
from longtail.errors import InputError

ShotConvention = Literal["kang", "mislas", "mislas_ranges"]
"""How classes are grouped; see `longtail.reporting.accuracy.shot_groups`."""


class ShotThresholds(Frozen):
    """Training counts that separate many-, medium- and few-shot classes; see `ShotConvention`."""

    many_above: float
    few_below: float


@dataclass(frozen=True)
class Totals:
    """Published numbers of a benchmark with official lists: images per set, classes, and the training images
    of the largest and the smallest class."""

    name: str
    train: int
    val: int
    test: int
    classes: int
    largest: int
    smallest: int

    @property
    def imbalance(self) -> float:
        """n_max / n_min."""
        return self.largest / self.smallest

    def list_name(self, part: str) -> str:
        """The file of the list of 'train', 'val' or 'test' images: `Places_LT_train.txt`."""
        return f"{self.name.replace('-', '_')}_{part}.txt"


IMAGENET_TOTALS = Totals("ImageNet-LT", 115_846, 20_000, 50_000, classes=1000, largest=1280, smallest=5)
PLACES_TOTALS = Totals("Places-LT", 62_500, 7_300, 36_500, classes=365, largest=4980, smallest=5)


class Benchmark(Frozen):
    """A long-tailed data set and the training of networks on it."""

    name: str
    source: Literal["digits", "cifar100", "cifar10", "own", "listed"]
    """own: the user's images; listed: official lists of files, which stay files."""
    classes: int | None
    """None: as many as the user's images have."""
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, on the scale 0..1."""
    test_per_class: int | None
    """None: the official test set, or a share of each class."""
    test_share: float | None = None
    """The share of each class's images that the test set takes."""
    meta_per_class: int
    tail: Literal["exponential", "natural", "listed"] = "exponential"
    """natural: the images are long-tailed already, and imbalance 1 keeps them; listed: official lists."""
    totals: Totals | None = None
    """Published numbers, for benchmarks with official lists."""
    n_max: int | None
    """Images of the largest class; None: what the smallest class has left after the meta set."""
    groups: ShotThresholds
    networks: tuple[str, ...]
    """Networks; every variant is trained with each."""
    pretrained: bool = False
    """Whether the backbone starts from a file of weights."""
    represent: Training
    retrain: Training
    sources: Mapping[str, str]
    """Where settings come from, see `provenance`."""

    def provenance(self, setting: str) -> str | None:
        """Where the value of `setting` comes from, such as `n_max` or `represent.iterations`.

        In `sources`, `iterations` is that of both trainings.
        """
        return source_of({setting, setting.rpartition(".")[2]}, self.sources)

    def with_meta_per_class(self, wanted: int | None) -> Benchmark:
        """The benchmark with `wanted` meta images per class, taken from training; None: unchanged."""
        if wanted is None:
            return self
        if self.n_max is None:
            return self.model_copy(update={"meta_per_class": wanted})
        images = self.n_max + self.meta_per_class
        if wanted >= images:
            raise InputError(
                f"meta_per_class {wanted}",
                f"{self.name} has {images} images a class besides the test set",
                "give less, so that some are left to train on",
            )
        return self.model_copy(update={"meta_per_class": wanted, "n_max": images - wanted})

    def check_imbalance(self, imbalance: float) -> None:
        """Raise InputError if official lists fix another imbalance."""
        if self.totals is not None and f"{imbalance:g}" != f"{self.totals.imbalance:g}":
            raise InputError(
                f"imbalance {imbalance:g}",
                f"the lists of {self.totals.name} have {self.totals.imbalance:g}",
                f"write `{self.name}: [{self.totals.imbalance:g}]` under imbalances",
            )


RELEASE = "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment.py"
STAGE_2 = "Difficulty-Net's code, CIFAR-LT/cifar_train_exaugment_stage2.py"
LISTS = "Difficulty-Net's code, ImageNet_Places-LT"

_DIGITS = Training(
    iterations=150,
    batch_size=64,
    meta_batch_size=50,
    sampler="shuffled",
    augment="shift",
    second_augment="shift",
    weight_decay=5e-4,
    schedule=Steps(start=0.1, peak=0.2, warmup=8, milestones=(75, 112)),
)

DIGITS_LT = Benchmark(
    name="digits-lt",
    source="digits",
    classes=10,
    image_shape=(8, 8, 1),
    mean=(0.3053,),
    std=(0.3759,),
    test_per_class=50,
    meta_per_class=10,
    n_max=114,  # the smallest class has 174 images
    groups=ShotThresholds(many_above=60, few_below=20),
    networks=("digits_resnet",),
    represent=_DIGITS,
    retrain=_DIGITS.model_copy(
        update={"iterations": 90, "sampler": "class_aware", "schedule": Cosine(peak=0.05)}
    ),
    sources={
        "classes image_shape": "the digits of scikit-learn (Alpaydin & Kaynak, UCI, 1998)",
        "mean std": "mean and deviation of all pixels of the data set",
        "test_per_class test_share meta_per_class n_max": "our choice, because the smallest class has 174 "
        "images: 50 to test, 10 meta images, 114 to train on",
        "tail": "Cui et al., CVPR 2019",
        "groups": "our choice, because no class has more than 114 images",
        "totals pretrained backbone_rate": "none: no official lists, no pretrained network",
        "networks precision": "our choice, because it trains in seconds on a CPU",
        "iterations batch_size meta_batch_size": "our choice, because all tables then take minutes",
        "represent.schedule": "our choice: CIFAR-100-LT's, scaled to 150 iterations",
        "retrain.schedule": STAGE_2,
        "represent.sampler": RELEASE,
        "retrain.sampler": f"Kang et al., ICLR 2020; {STAGE_2}",
        "augment second_augment": "our choice, because a digit of 8x8 pixels bears little more",
        "momentum nesterov": "as on CIFAR-100-LT",
        "weight_decay": "our choice, because iterations are few: five times CIFAR-100-LT's",
    },
)

_CIFAR = Training(
    iterations=12_800,
    batch_size=128,
    meta_batch_size=100,
    sampler="shuffled",
    augment="cifar",
    second_augment="cifar_view",
    weight_decay=1e-4,
    schedule=Steps(start=0.1, peak=0.2, warmup=400, milestones=(6_400, 9_600)),
)

CIFAR100_LT = Benchmark(
    name="cifar100-lt",
    source="cifar100",
    classes=100,
    image_shape=(32, 32, 3),
    mean=(0.50707516, 0.48654887, 0.44091784),
    std=(0.26733429, 0.25643846, 0.27615047),
    test_per_class=None,
    # the authors' code; their text says 10 a class, after Jamal et al., CVPR 2020, which leaves 490
    meta_per_class=25,
    n_max=475,
    groups=ShotThresholds(many_above=100, few_below=20),
    networks=("resnet32",),
    represent=_CIFAR,
    retrain=_CIFAR.model_copy(
        update={
            # 50 epochs of the authors' class-aware sampler, which gives every class as many images as the
            # largest: 100 x 475 images are 372 batches of 128 at any imbalance, and 50 x 372 = 18,600
            "iterations": 18_600,
            "sampler": "class_aware",
            "schedule": Cosine(peak=0.05),
        }
    ),
    sources={
        "classes image_shape test_per_class test_share": "CIFAR-100 with its test set (Krizhevsky, 2009)",
        "mean std augment momentum weight_decay nesterov precision": RELEASE,
        "meta_per_class n_max": f"{RELEASE}; the paper says 10 a class, which leaves 490",
        "tail": "Cui et al., CVPR 2019; Difficulty-Net's code, CIFAR-LT/data/data_preprocessing.py",
        "groups": "Kang et al., ICLR 2020; Difficulty-Net's CIFAR test script has 500 R^(-c/99), 200 and 100",
        "totals pretrained backbone_rate": "none: no official lists, no pretrained network",
        "networks": f"the paper; {RELEASE}",
        "represent.iterations represent.schedule": f"{RELEASE}, which counts epochs; iterations as in Tan et "
        "al., CVPR 2020, whose numbers they are, because the axis of the paper's Figure 3 has steps",
        "represent.batch_size represent.meta_batch_size represent.sampler": RELEASE,
        "second_augment": "PaCo's code for CIFAR-100-LT",
        "retrain.iterations": f"{STAGE_2}: 50 epochs of the class-aware sampler, which shows every class as "
        "often as the largest: 50 x 100 x 475 / 128",
        "retrain.batch_size retrain.sampler retrain.schedule": STAGE_2,
        "retrain.meta_batch_size": f"{STAGE_2}; only BALMS uses it, whose code has 512",
    },
)

# not in the paper: CIFAR-100-LT with other images. The largest class keeps what 25 meta images leave of 5,000
CIFAR10_LT = CIFAR100_LT.model_copy(
    update={
        "name": "cifar10-lt",
        "source": "cifar10",
        "classes": 10,
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2470, 0.2435, 0.2616),
        "n_max": 4_975,
        # 10 x 4,975 images are 389 batches of 128, and 50 x 389 = 19,450
        "retrain": CIFAR100_LT.retrain.model_copy(update={"iterations": 19_450}),
        "sources": {
            **CIFAR100_LT.sources,
            "classes": "CIFAR-10 (Krizhevsky, 2009)",
            "mean std": "mean and deviation of all pixels of CIFAR-10's training images",
            "n_max": "our choice: what 25 meta images leave of 5,000, as on CIFAR-100-LT",
            "retrain.iterations": "as on CIFAR-100-LT: 50 x 10 x 4,975 / 128",
        },
    }
)

# the user's images: CIFAR-100-LT's training, shorter, and without what was made for 32x32 photographs
OWN = CIFAR100_LT.model_copy(
    update={
        "name": "own",
        "source": "own",
        "classes": None,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "test_share": 0.2,
        "meta_per_class": 5,
        "tail": "natural",
        "n_max": None,
        **{
            stage: scaled(training, 3_000 / training.iterations).model_copy(
                update={"augment": "crop_flip", "second_augment": "crop_flip"}
            )
            for stage, training in (("represent", CIFAR100_LT.represent), ("retrain", CIFAR100_LT.retrain))
        },
        "sources": {
            **CIFAR100_LT.sources,
            "classes": "the user's folders",
            "mean std": "our choice, because nothing is known of the images",
            "test_share": "our choice, because folders have no official test set",
            "meta_per_class": "our choice, because small classes need their images for training",
            "tail n_max": "our choice, because the user's images are long-tailed as they are",
            "iterations represent.schedule": "our choice, because folders of one's own are usually smaller",
            "augment second_augment": "our choice, because AutoAugment's policy was made for photographs",
        },
    }
)

_IMAGENET = Training(
    iterations=163_080,  # 180 epochs: 180 x 906
    batch_size=128,
    meta_batch_size=100,
    sampler="shuffled",
    augment="photo",
    second_augment="photo_view",
    weight_decay=5e-4,
    nesterov=True,
    schedule=Cosine(peak=0.05),
)

# 115,846 images are 906 batches of 128
IMAGENET_LT = Benchmark(
    name="imagenet-lt",
    source="listed",
    classes=IMAGENET_TOTALS.classes,
    image_shape=(224, 224, 3),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    test_per_class=None,
    meta_per_class=10,
    tail="listed",
    totals=IMAGENET_TOTALS,
    n_max=None,
    groups=ShotThresholds(many_above=100, few_below=20),
    networks=("resnet10", "resnet50"),
    represent=_IMAGENET,
    retrain=_IMAGENET.model_copy(
        update={
            "iterations": 9_070,  # 10 epochs of one batch more than a pass over the images: 10 x 907
            "sampler": "class_aware_short",
            "weight_decay": 2e-4,
            "nesterov": False,
        }
    ),
    sources={
        "classes test_per_class test_share tail totals": "the lists of Liu et al., CVPR 2019; sizes of the "
        "training set and its classes not checked against the file",
        "image_shape mean std": f"{LISTS}/datasets/imagenet.py",
        "meta_per_class n_max": f"{LISTS}/datasets/imagenet.py: 10 of a class's 20 validation images",
        "groups": "Kang et al., ICLR 2020",
        "networks pretrained": f"the paper's Table 2; {LISTS}/config/imagenet",
        "represent.iterations": f"{LISTS}/config/imagenet: 180 epochs of 906 batches",
        "represent.batch_size represent.schedule represent.weight_decay momentum": f"{LISTS}/config/imagenet/"
        "imagenet_resnet10_stage1.yaml",
        "represent.nesterov": f"{LISTS}/train_stage1.py, for ImageNet-LT",
        "represent.sampler meta_batch_size": f"{LISTS}/datasets/imagenet.py; of heads only BALMS uses meta "
        "batches, whose code has 1,024",
        "augment": f"{LISTS}/datasets/imagenet.py without RandAugment, which the paper's Table 2 leaves out",
        "second_augment": "PaCo's code for ImageNet-LT, without RandAugment",
        "retrain.iterations": f"{LISTS}/train_stage2.py, config/imagenet: 10 epochs of 907 batches, one more "
        "than a pass",
        "retrain.batch_size retrain.schedule retrain.weight_decay": f"{LISTS}/config/imagenet/"
        "imagenet_resnet10_stage2.yaml",
        "retrain.sampler retrain.nesterov": f"{LISTS}/train_stage2.py, which is MiSLAS's",
        "backbone_rate precision": f"{LISTS}/train_stage1.py",
    },
)

# 62,500 images are 489 batches of 128, and 245 of 256
PLACES_LT = IMAGENET_LT.model_copy(
    update={
        "name": "places-lt",
        "classes": PLACES_TOTALS.classes,
        "totals": PLACES_TOTALS,
        "networks": ("resnet152",),
        "pretrained": True,
        "represent": IMAGENET_LT.represent.model_copy(
            update={
                "iterations": 14_670,  # 30 epochs: 30 x 489
                "nesterov": False,
                # x0.1 from the tenth and the twentieth epoch on: 9 x 489 and 19 x 489
                "schedule": Steps(start=0.01, peak=0.01, warmup=0, milestones=(4_401, 9_291)),
                "backbone_rate": 0.1,
            }
        ),
        "retrain": IMAGENET_LT.retrain.model_copy(
            update={
                "iterations": 4_920,  # 20 epochs of one batch more than a pass: 20 x 246
                "batch_size": 256,
                "weight_decay": 5e-4,
                "schedule": Cosine(peak=0.1),
            }
        ),
        "sources": {
            **IMAGENET_LT.sources,
            "classes totals": "the lists of Liu et al., CVPR 2019, counted",
            "image_shape mean std augment": f"{LISTS}/datasets/places.py",
            "networks pretrained": f"the paper's Table 3; {LISTS}/config/places",
            "represent.iterations": f"{LISTS}/config/places: 30 epochs of 489 batches",
            "represent.schedule": f"{LISTS}/train_stage1.py: x0.1 from the 10th and the 20th epoch on, after "
            "9 and 19 times 489 batches",
            "represent.nesterov represent.backbone_rate": f"{LISTS}/train_stage1.py, for Places-LT",
            "retrain.iterations": f"{LISTS}/train_stage2.py, config/places: 20 epochs of 246 batches, one "
            "more than a pass",
            "retrain.batch_size retrain.schedule retrain.weight_decay": f"{LISTS}/config/places/"
            "places_resnet152_stage2.yaml",
        },
    }
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (DIGITS_LT, CIFAR100_LT, CIFAR10_LT, IMAGENET_LT, PLACES_LT, OWN)
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises InputError."""
    if name not in BENCHMARKS:
        raise InputError(f"benchmark '{name}'", "not known", f"valid: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
