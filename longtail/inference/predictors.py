"""Rebuilding the model of a trained cell from its folder, and predicting with it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from longtail.data.image_files import PixelRules
from longtail.errors import InputError, one_line
from longtail.methods import build_method
from longtail.networks import NETWORKS, build_network
from longtail.networks.heads import WithHead
from longtail.networks.weights import load_weights
from longtail.planning.plans import represented
from longtail.running.cell_folders import WEIGHTS_FILES, Weights, read_cell
from longtail.running.cell_record import CellRecord
from longtail.training.method import Method, Task
from longtail.training.precision import matmul_precision, with_precision
from longtail.training.trainer import predict


def read_record(folder: Path) -> CellRecord:
    """The record of the cell in `folder`. Raises InputError."""
    if folder.is_file():
        raise InputError(folder, "a file", "a model is the folder of a cell")
    return read_cell(folder)


def find_features(folder: Path, record: CellRecord) -> Path | None:
    """The folder of the features below the head in `folder`, None if it is no head.

    imb<R>-heads/<variant>-heads/crt-seed1 has it in imb<R>/<variant>/seed1, both in models/<benchmark>.
    Raises InputError if it is missing, or is another training.
    """
    if record.features is None:
        return None
    bundle = folder.resolve().parent
    networks = bundle.parent.parent / represented(bundle.parent.name)
    below = networks / represented(bundle.name) / f"seed{record.seed}"
    if not (below / "cell.json").is_file():
        raise InputError(
            folder,
            f"a head without its features: {below} is no cell",
            "copy that cell there, or train it again",
        )
    found = read_record(below).fingerprint
    if found != record.features:
        raise InputError(
            folder,
            f"a head on features {record.features[:12]}, and {below} has {found[:12]}: one of the two was "
            "trained again",
            "train the other again",
        )
    return below


def _method(folder: Path, record: CellRecord) -> Method:
    task = Task(counts=torch.tensor(record.counts), seed=record.seed, imbalance=record.imbalance)
    name = record.head or record.method
    try:
        return build_method(name, record.settings, task)
    except KeyError:
        raise InputError(folder / "cell.json", f"method '{name}' is not known") from None
    except ValidationError as error:
        raise InputError(folder / "cell.json", f"settings.{one_line(error)}") from None


def rebuild(folder: Path, weights: Weights, features: Path | None = None) -> nn.Module:
    """The model of the cell in `folder` in evaluation mode: normalised images to logits.

    `features` is the folder of the cell below a head (None: it is looked for, see `find_features`). Raises
    InputError.
    """
    record = read_record(folder)
    if record.network not in NETWORKS:
        raise InputError(folder / "cell.json", f"network '{record.network}' is not known")
    method = _method(folder, record)
    if record.features is None:
        model = method.adapt(build_network(record.network, len(record.counts), record.seed))
        load_weights(model, folder / WEIGHTS_FILES[weights])
        return model.eval()
    below = features or find_features(folder, record)
    assert below is not None
    network = rebuild(below, record.settings["start"])
    head = method.head(network.classifier)  # type: ignore[arg-type]
    model = WithHead(network, head, record.settings.get("batch_norm", "frozen"))
    load_weights(model.trained, folder / WEIGHTS_FILES[weights])
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
    """A trained cell that classifies images."""

    record: CellRecord
    weights: Weights
    model: FromPixels
    device: torch.device
    precision: str

    @property
    def name(self) -> str:
        """`imb50-difficulty_net-seed1`; of a training that never got a name, the start of its fingerprint."""
        return self.record.cell or self.record.fingerprint[:12]

    @property
    def iteration(self) -> int:
        """That of the weights."""
        return self.record.iterations if self.weights == "last" else self.record.selected_iteration

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the logits."""
        return tuple(self.record.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, channels)."""
        return self.record.image_shape

    @property
    def pixel_rules(self) -> PixelRules:
        """How image files become the images that the model knows."""
        return self.record.pixel_rules

    def _logits(self, images: NDArray[np.uint8]) -> Tensor:
        shape = self.image_shape
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            size = "x".join(map(str, shape))
            raise ValueError(f"images {images.dtype} {images.shape}; expected uint8 of {size} each")
        if not len(images):
            return torch.zeros(0, len(self.class_names))
        with matmul_precision(self.precision):
            return predict(self.model, torch.from_numpy(np.ascontiguousarray(images)).to(self.device)).cpu()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C] of images uint8 [N, H, W, channels]; ValueError for anything else."""
        return self._logits(images).numpy()

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The softmax of the logits, [N, C]; nothing calibrates them."""
        return torch.softmax(self._logits(images).double(), dim=1).numpy()


def load_predictor(
    folder: Path,
    weights: Weights = "last",
    device: str = "cpu",
    features: Path | None = None,
    precision: str | None = None,
) -> Predictor:
    """The trained cell in `folder`. Raises InputError if something of it is missing or damaged.

    `weights`: after the last iteration, or those selected on the meta set. `features`: see `rebuild`.
    `precision`: of `training.precision`; None: that of the training, which gave the cell its predictions.
    """
    record = read_record(folder)
    precision = precision or record.training.precision
    network = with_precision(rebuild(folder, weights, features), precision)
    model = FromPixels(network, record.mean, record.std).eval()
    return Predictor(record, weights, model.to(device), torch.device(device), precision)
