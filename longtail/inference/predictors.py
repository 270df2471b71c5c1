"""A trained cell, used: the one place that makes a model again from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from longtail.config.benchmarks import Frozen
from longtail.errors import InputError, one_line
from longtail.methods import build_method
from longtail.networks import NETWORKS, build_network
from longtail.networks.heads import WithHead
from longtail.networks.weights import REMEDY, load_weights
from longtail.planning.plans import represented
from longtail.running.cell_folders import WEIGHTS_FILES, read_cell
from longtail.training.method import Method, Task
from longtail.training.trainer import predict

Weights = Literal["last", "selected"]
Side = Annotated[int, Field(ge=1, le=4096)]
"""Of an image, in pixels."""


class Facts(Frozen):
    """What `cell.json` must say for its model to be made again; it says more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    fingerprint: str
    benchmark: str
    imbalance: float
    method: str
    head: str | None
    seed: int
    settings: dict[str, Any]
    """Of the head, where there is one."""
    network: str
    counts: list[Annotated[int, Field(ge=1)]] = Field(min_length=2)
    class_names: list[str]
    image_shape: tuple[Side, Side, Literal[1, 3]]
    """(H, W, channels)."""
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    iterations: int
    selected_iteration: int
    features: str | None = None
    """The fingerprint of the cell below a head."""
    cell: str | None = None
    variant: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Facts:
        if len(self.class_names) != len(self.counts):
            raise ValueError(f"{len(self.class_names)} class_names for {len(self.counts)} counts")
        if not len(self.mean) == len(self.std) == self.image_shape[2]:
            raise ValueError("mean and std are not one number for each channel of image_shape")
        return self


def read_fingerprint_facts(folder: Path) -> Facts:
    """The facts of the cell in `folder`. Raises InputError."""
    path = folder / "cell.json"
    if folder.is_file():
        raise InputError(folder, "a file", "a model is the folder of a cell")
    try:
        return Facts.model_validate(read_cell(folder))
    except ValidationError as error:
        raise InputError(path, one_line(error).removesuffix("; add it"), REMEDY) from None


def find_features(folder: Path, facts: Facts) -> Path | None:
    """The folder of the features below the head in `folder`, None where it is no head.

    models/<benchmark>/imb<R>/<variant>-heads/crt-seed1 has it in models/<benchmark>/imb<R>/<variant>/seed1.
    Raises InputError where it is gone, or is another training by now.
    """
    if facts.features is None:
        return None
    bundle = folder.resolve().parent
    below = bundle.parent / represented(bundle.name) / f"seed{facts.seed}"
    if not (below / "cell.json").is_file():
        raise InputError(
            folder,
            f"a head, and the features below it are gone: {below} is no cell",
            "`dvc repro` trains it, or copy it there",
        )
    found = read_fingerprint_facts(below).fingerprint
    if found != facts.features:
        raise InputError(
            folder,
            f"a head on features {facts.features[:12]}, and {below} has {found[:12]}: one of the two was "
            "trained anew",
            "`dvc repro` trains the other",
        )
    return below


def _method(folder: Path, facts: Facts) -> Method:
    task = Task(counts=torch.tensor(facts.counts), seed=facts.seed, imbalance=facts.imbalance)
    name = facts.head or facts.method
    try:
        return build_method(name, facts.settings, task)
    except KeyError:
        raise InputError(folder / "cell.json", f"method '{name}' is not known", REMEDY) from None
    except ValidationError as error:
        raise InputError(folder / "cell.json", f"settings.{one_line(error)}", REMEDY) from None


def rebuild(folder: Path, weights: Weights, features: Path | None = None) -> nn.Module:
    """The model of the cell in `folder` in evaluation mode: normalised images to logits.

    `features` is the folder of the cell below a head (None: it is looked for, see `find_features`). Raises
    InputError.
    """
    facts = read_fingerprint_facts(folder)
    if facts.network not in NETWORKS:
        raise InputError(folder / "cell.json", f"network '{facts.network}' is not known", REMEDY)
    method = _method(folder, facts)
    if facts.features is None:
        model = method.adapt(build_network(facts.network, len(facts.counts), facts.seed))
        load_weights(model, folder / WEIGHTS_FILES[weights])
        return model.eval()
    below = features or find_features(folder, facts)
    assert below is not None
    network = rebuild(below, facts.settings["start"])
    model = WithHead(network, method.head(network.classifier))  # type: ignore[arg-type]
    load_weights(model.head, folder / WEIGHTS_FILES[weights])
    return model.eval()


class FromPixels(nn.Module):
    """A network with its test-time preprocessing: uint8 images [N, H, W, channels] to logits [N, C]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Logits, by the arithmetic of `training_data.Images.normalised`."""
        pixels = images.permute(0, 3, 1, 2).contiguous().float() / 255
        return self.network((pixels - self.mean) / self.std)


@dataclass(frozen=True)
class Predictor:
    """A trained cell that takes images."""

    facts: Facts
    weights: Weights
    model: FromPixels
    device: torch.device

    @property
    def name(self) -> str:
        """`imb50-difficulty_net-seed1`; of a training that never got a name, the start of its fingerprint."""
        return self.facts.cell or self.facts.fingerprint[:12]

    @property
    def iteration(self) -> int:
        """That of the weights."""
        return self.facts.iterations if self.weights == "last" else self.facts.selected_iteration

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the logits."""
        return tuple(self.facts.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, channels)."""
        return self.facts.image_shape

    def _logits(self, images: NDArray[np.uint8]) -> Tensor:
        shape = self.image_shape
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            size = "x".join(map(str, shape))
            raise ValueError(f"images {images.dtype} {images.shape}; expected uint8 of {size} each")
        if not len(images):
            return torch.zeros(0, len(self.class_names))
        return predict(self.model, torch.from_numpy(np.ascontiguousarray(images)).to(self.device)).cpu()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C] of images uint8 [N, H, W, channels]; ValueError for anything else."""
        return self._logits(images).numpy()

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The softmax of the logits, [N, C]; nothing calibrates them."""
        return torch.softmax(self._logits(images).double(), dim=1).numpy()


def load_predictor(
    folder: Path, weights: Weights = "last", device: str = "cpu", features: Path | None = None
) -> Predictor:
    """The trained cell in `folder`. Raises InputError where something of it is missing or damaged.

    `weights`: after the last iteration, or those selected on the meta set. `features`: see `rebuild`.
    """
    facts = read_fingerprint_facts(folder)
    model = FromPixels(rebuild(folder, weights, features), facts.mean, facts.std).eval()
    return Predictor(facts, weights, model.to(device), torch.device(device))
