"""`params.yaml`, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from longtail.config.benchmarks import BENCHMARKS, OWN, Benchmark, ShotConvention, find_benchmark
from longtail.config.presets import METHODS, VARIANTS
from longtail.config.presets.preset import did_you_mean
from longtail.config.records import Strict
from longtail.config.repository import base_of
from longtail.config.training import scaled
from longtail.config.yaml_files import read_yaml
from longtail.errors import InputError, found_value, one_line

DOWNLOAD = "download"
"""Instead of a path: fetch the images."""

LARGEST = 2**20
"""Largest `params.yaml`, bytes."""


class ScheduleParams(Strict):
    """Changes to every schedule."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    length: int | None = Field(default=None, ge=1, le=10**8)
    """Of the networks' training, in units; None: the benchmark's own number."""
    unit: Literal["iterations", "epochs"] = "iterations"
    """Of the networks' length, warm-up and milestones; an epoch is a pass over the training images."""
    batch_size: int | None = Field(default=None, ge=1, le=10**6)
    """Images of a training batch of the networks; None: the benchmark's own number."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Of convolutions and matrix products; see `longtail.training.precision`."""


class OwnParams(Strict):
    """Settings of the benchmark `own`, your own images."""

    image_size: int = Field(default=OWN.image_shape[0], ge=8, le=224)
    """Side in pixels; every image becomes a square."""
    test_share: float = Field(default=OWN.test_share or 0, gt=0, lt=1)
    """Share of each class in the test set; at least one image per class."""
    iterations: int = Field(default=OWN.represent.iterations, ge=1, le=10**8)
    """Of a network, and of a classifier on its features."""
    augment: Literal["none", "shift", "crop_flip", "cifar"] = "crop_flip"
    """Of the training images; `cifar` is AutoAugment's CIFAR-10 policy with Cutout."""

    @model_validator(mode="after")
    def _large_enough(self) -> OwnParams:
        if self.augment == "cifar" and self.image_size < 32:
            raise ValueError(f"augment: cifar is for images of 32 pixels and more, not {self.image_size}")
        return self

    def applied(self, benchmark: Benchmark) -> Benchmark:
        """`benchmark` with these settings."""
        views = {"augment": self.augment, "second_augment": self.augment}
        return benchmark.model_copy(
            update={
                "image_shape": (self.image_size, self.image_size, 3),
                "test_share": self.test_share,
                **{
                    stage: scaled(training, self.iterations / training.iterations).model_copy(update=views)
                    for stage, training in (
                        ("represent", benchmark.represent),
                        ("retrain", benchmark.retrain),
                    )
                },
            }
        )


class OwnImagesParams(Strict):
    """`images: own:` where it is more than one path."""

    train: str
    """The images; without `test`, the test images are drawn from them."""
    test: str | None = None
    """The test images, where they are given."""
    orientation: Literal["apply", "ignore"] = "apply"
    """Whether images are turned upright as the camera noted (EXIF)."""
    several_labels: Literal["keep", "drop", "refuse"] = "keep"
    """What to do with images of equal content under different labels; `drop` leaves out all of them."""

    @field_validator("train", "test")
    @classmethod
    def _path(cls, where: str | None) -> str | None:
        if where is not None and not (where and where.isprintable()):
            raise ValueError("write a path")
        return where


class Params(Strict):
    """The experiment settings; `methods` holds the sections named after methods."""

    lambda_: float = Field(alias="lambda", ge=0, le=1e6, allow_inf_nan=False)
    imbalances: dict[str, Annotated[list[float], Field(min_length=1, max_length=100)]] = Field(min_length=1)
    """n_max / n_min of the training sets, by benchmark."""
    seeds: list[int] = Field(min_length=1, max_length=1000)
    variants: list[str] | None = Field(None, min_length=1)
    """Those that are trained, with the heads on them; None: all of the tables and figures."""
    data_seed: int = Field(0, ge=0, lt=2**63)
    images: dict[str, str] = Field(default_factory=dict)
    """Where the images are: `download` or a path; `read_params` resolves it, see `base_of`."""
    own_images: OwnImagesParams | None = None
    """The mapping at `images: own:`, if it is one; `images` then holds its `train`."""
    lists: dict[str, str] = Field(default_factory=dict)
    """The folder of the official lists of a benchmark; without it, that of its images."""
    weights: dict[str, str] = Field(default_factory=dict)
    """The file of a pretrained backbone, by benchmark; or `download`: torchvision's."""
    backbone: Literal["tuned", "frozen"] = "tuned"
    """Whether a pretrained backbone is tuned, at a lower learning rate, or frozen."""
    duplicates: Literal["exclude", "keep"] = "exclude"
    """What to do with images that are identical to a test image."""
    split: Literal["content", "file_order"] = "content"
    """How meta and training sets are drawn: by a hash of the images, or by their order in the files."""
    meta_per_class: int | None = Field(None, ge=1, le=10**6)
    """None: the benchmark's own number."""
    shot_groups: ShotConvention = "kang"
    schedule: ScheduleParams = ScheduleParams()
    own: OwnParams = OwnParams()
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def benchmark(self, name: str) -> Benchmark:
        """The benchmark of that name, with the user's settings of it. Raises InputError."""
        found = find_benchmark(name)
        if found.pretrained and self.backbone == "frozen":
            frozen = found.represent.model_copy(update={"backbone_rate": 0.0})
            found = found.model_copy(update={"represent": frozen})
        if found.source != "own":
            return found
        found = self.own.applied(found)
        given = self.own_images is not None and self.own_images.test is not None
        return found.model_copy(update={"test_share": None}) if given else found

    def image_root(self, benchmark: str) -> Path:
        """The folder that the paths in a benchmark's lists are relative to. Raises InputError."""
        where = self.images.get(benchmark)
        if where in (None, DOWNLOAD):
            found = "missing" if where is None else f"found {DOWNLOAD}, and nothing is fetched"
            raise InputError(
                "params.yaml",
                f"images: {benchmark}: {found}",
                f"write `images: {{{benchmark}: <folder>}}`, the one that has `train` and `val`",
            )
        return Path(where)

    def list_folder(self, benchmark: str) -> Path:
        """The folder of a benchmark's lists. Raises InputError."""
        return Path(self.lists[benchmark]) if benchmark in self.lists else self.image_root(benchmark)

    def weights_file(self, benchmark: str) -> Path:
        """The weights that a benchmark's backbone starts from. Raises InputError."""
        if benchmark not in self.weights:
            raise InputError(
                "params.yaml",
                f"weights: {benchmark}: missing",
                f"write `weights: {{{benchmark}: <file>}}`, a state dict of torchvision's "
                f"{find_benchmark(benchmark).networks[0]}, or `download`",
            )
        return Path(self.weights[benchmark])

    def imbalances_of(self, benchmark: str) -> list[float]:
        """The chosen imbalances of a benchmark. Raises InputError."""
        if benchmark not in self.imbalances:
            raise InputError(
                "params.yaml", f"imbalances: none of {benchmark}", f"add `{benchmark}: [100]`, say"
            )
        for imbalance in self.imbalances[benchmark]:
            find_benchmark(benchmark).check_imbalance(imbalance)
        return self.imbalances[benchmark]

    @field_validator("imbalances")
    @classmethod
    def _imbalances(cls, chosen: dict[str, list[float]]) -> dict[str, list[float]]:
        for benchmark, values in chosen.items():
            if benchmark not in BENCHMARKS:
                raise ValueError(f"no benchmark '{benchmark}'; {did_you_mean(benchmark, list(BENCHMARKS))}")
            for value in values:
                if not 1 <= value <= 1e6:
                    raise ValueError(f"an imbalance is n_max / n_min, from 1 to 1e6; found {value:g}")
            if len({f"{value:g}" for value in values}) < len(values):  # the name of their folder
                raise ValueError("the same imbalance twice (to six digits)")
        return chosen

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, values: list[int]) -> list[int]:
        if len(set(values)) < len(values):
            raise ValueError("the same seed twice")
        if min(values) < 0 or max(values) >= 2**32:
            raise ValueError("a seed is 0 or more, and less than 2^32")
        return values

    @field_validator("variants")
    @classmethod
    def _variants(cls, names: list[str] | None) -> list[str] | None:
        known = [variant for variant, preset in VARIANTS.items() if preset.stage == "represent"]
        for name in names or ():
            if name not in known:
                raise ValueError(f"no variant '{name}'; {did_you_mean(name, known)}")
        return names

    @field_validator("images", "lists", "weights")
    @classmethod
    def _places(cls, values: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        meant = {
            "images": list(BENCHMARKS),
            "lists": [name for name, benchmark in BENCHMARKS.items() if benchmark.source == "listed"],
            "weights": [name for name, benchmark in BENCHMARKS.items() if benchmark.pretrained],
        }[str(info.field_name)]
        for name, where in values.items():
            if name not in BENCHMARKS:
                raise ValueError(f"no benchmark '{name}'; {did_you_mean(name, meant)}")
            if name not in meant:
                raise ValueError(f"{name} has none; take it out (those that have: {', '.join(meant)})")
            if not where or not where.isprintable():
                raise ValueError(f"{name}: write {'download, or ' * (info.field_name == 'images')}a path")
        return values


UNWRITTEN = ("methods", "own_images")
"""Fields of `Params` that are no keys of `params.yaml`."""

SECTIONS: dict[str, type[Strict]] = {"schedule": ScheduleParams, "own": OwnParams}
"""Sections of `params.yaml` that are not named after a method."""


def _check_keys(section: dict[Any, Any], model: type[Strict], where: str) -> None:
    keys = list(model.model_fields)
    for key in section:
        if key not in keys:
            raise InputError(where, f"unknown key {found_value(str(key))}", did_you_mean(str(key), keys))


def read_params(path: Path = Path("params.yaml")) -> Params:
    """Read `path`. Raises InputError naming the key, the value and the remedy."""
    if not path.is_file():
        raise InputError(path, "no such file", "run from the folder that holds it")
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(path, f"{size:,} bytes, more than {LARGEST:,}", "is it the right file?")
        found = read_yaml(path, aliases=False)
    except OSError as error:
        raise InputError(path, error.strerror, "make it readable") from None
    if not isinstance(found, dict):
        raise InputError(
            path, f"expected keys with values, found {type(found).__name__}", "write `lambda: 0.3` and so on"
        )
    keys = [field.alias or name for name, field in Params.model_fields.items() if name not in UNWRITTEN]
    for key in found:
        if key not in keys and key not in METHODS:
            known = did_you_mean(str(key), [*keys, *METHODS])
            raise InputError(path, f"unknown key {found_value(str(key))}", known)
    if found.get("own", {}) is None:  # all of it commented out
        del found["own"]
    for name, model in SECTIONS.items():
        if isinstance(found.get(name), dict):
            _check_keys(found[name], model, where=f"{path}: {name}")
    sections = {name: found.pop(name) for name in list(found) if name in METHODS}
    sections = {name: {} if section is None else section for name, section in sections.items()}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise InputError(path, f"{name}: expected settings with values, found {found_value(section)}")
        METHODS[name].check(section, where=f"{path}: {name}")
    written = found.get("imbalances")
    for benchmark, values in written.items() if isinstance(written, dict) else []:
        for value in values if isinstance(values, list) else []:
            if isinstance(value, float) and f"{value:g}" != str(
                value
            ):  # its folder is named as it is written
                raise InputError(path, f"imbalances.{benchmark}: found {value}", f"write {value:g}")
    own = found["images"].get("own") if isinstance(found.get("images"), dict) else None
    if isinstance(own, dict):
        where = f"{path}: images: own"
        _check_keys(own, OwnImagesParams, where)
        try:
            found["own_images"] = OwnImagesParams.model_validate(own)
        except ValidationError as error:
            raise InputError(where, one_line(error)) from None
        found["images"] = {**found["images"], "own": own["train"]}
    try:
        params = Params.model_validate({**found, "methods": sections})
    except ValidationError as error:
        raise InputError(path, one_line(error)) from None
    base = base_of(path.parent)
    places: dict[str, Any] = {
        key: {
            benchmark: where if where == DOWNLOAD and key != "lists" else str(base / where)
            for benchmark, where in getattr(params, key).items()
        }
        for key in ("images", "lists", "weights")
    }
    if params.own_images is not None and params.own_images.test is not None:
        test = str(base / params.own_images.test)
        places["own_images"] = params.own_images.model_copy(update={"test": test})
    return params.model_copy(update=places)
