"""Short trainings on noise, to measure how fast a machine trains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from longtail.config.benchmarks import Benchmark
from longtail.config.presets import METHODS
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.training.batches import Images, TrainingData
from longtail.training.kernels import layout
from longtail.training.method import Task
from longtail.training.precision import with_precision
from longtail.training.trainer import Trainer

SECONDS = 1.0
"""The least time to measure."""
LEAST, MOST = 2, 20
"""Iterations to measure."""
WARM = {"cpu": 1, "cuda": 5}
"""Iterations before; on a GPU kernels are chosen, and the iteration is recorded and compared."""


def made_up_images(
    counts: Sequence[int],
    seed: int,
    benchmark: Benchmark,
    device: torch.device,
    order: torch.memory_format = torch.channels_last,
) -> Images:
    """Noise in the shape of a benchmark, with these numbers of images a class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    shape = (len(labels), *benchmark.image_shape)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Images.of(pixels, labels, benchmark.mean, benchmark.std, device, order)


@dataclass(frozen=True)
class Trial:
    """A method on a network of a benchmark, in batches of `batch` and meta batches of `meta` images."""

    benchmark: Benchmark
    network: str
    method: str
    batch: int
    meta: int

    @classmethod
    def fitting(cls, benchmark: Benchmark, network: str, method: str, device: torch.device) -> Trial:
        """Batches of full size on a GPU; on a CPU fewer images, for a measurement of seconds."""
        training = benchmark.represent
        most = training.batch_size
        if device.type == "cpu":
            most = 4 if benchmark.image_shape[0] > 64 else 32
        return cls(
            benchmark, network, method, min(training.batch_size, most), min(training.meta_batch_size, most)
        )

    @property
    def image_passes(self) -> float:
        """Of an iteration; see `Preset.image_passes`."""
        return METHODS[self.method].image_passes(self._settings, self.batch, self.meta)

    @property
    def _settings(self) -> dict[str, object]:
        return METHODS[self.method].settings.model_validate({}).model_dump(by_alias=True)

    def trainer(
        self,
        device: torch.device,
        precision: str = "float32",
        order: torch.memory_format | None = None,
        iterations: int = MOST + max(WARM.values()),
    ) -> Trainer:
        """Before its first iteration; all iterations lie within one epoch."""
        classes = self.benchmark.classes or 2
        order = layout(device, precision) if order is None else order
        task = Task(torch.arange(classes, 0, -1), seed=1, imbalance=float(classes), device=device)
        method = build_method(self.method, self._settings, task)
        training = self.benchmark.represent.model_copy(
            update={
                "iterations": iterations + 1,
                "batch_size": self.batch,
                "meta_batch_size": self.meta,
                "sampler": "shuffled",
                # photographs are augmented by decoders, not here
                "augment": "none" if self.benchmark.source == "listed" else self.benchmark.represent.augment,
            }
        )

        def images(number: int, seed: int) -> Images:
            counts = np.bincount(np.arange(number) % classes, minlength=classes)
            return made_up_images(counts.tolist(), seed, self.benchmark, device, order)

        train = images(self.batch * (iterations + 1), 1)
        data = TrainingData(train, images(self.meta, 2), training, method, seed=1)
        network = method.adapt(with_precision(build_network(self.network, classes, seed=1), precision))
        return Trainer(network.to(device), method, data, training, classes)


def seconds_per_iteration(trainer: Trainer) -> float:
    """The median, after a warm-up."""
    device = trainer.data.train.labels.device
    running = trainer.iterations()
    for _ in range(WARM[device.type]):
        next(running)
    taken: list[float] = []
    while len(taken) < LEAST or (sum(taken) < SECONDS and len(taken) < MOST):
        start = _now(device)
        next(running)
        taken.append(_now(device) - start)
    return median(taken)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
