"""One cell, from its plan to its files: training (of a head, for some) and prediction of the test split."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save
from torch import nn

from longtail.atomic import atomic_path, write_json
from longtail.checkpoints import Checkpoints, Pace
from longtail.errors import DivergedError
from longtail.heads import WithHead
from longtail.jobs import WEIGHTS_FILES, CellInputs, Job, read_cell
from longtail.method import Task
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.trainer import Trainer, predict
from longtail.training_data import Images, TrainingData


def train_cell(
    job: Job,
    inputs: CellInputs,
    directory: Path,
    reached: Callable[[int], None] = lambda iteration: None,
    stopping: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda line: None,
) -> bool:
    """Train the cell of `job` and write its files into `directory` (see `write_cell`).

    A checkpoint of the same fingerprint is taken up where it stopped. Test images are touched only by the
    prediction, after the last iteration.

    Args:
        reached: told how many iterations are done.
        stopping: asked after each iteration. Once it is true, a checkpoint is saved, and nothing written.
        warn: told, in one line, of a checkpoint that cannot be used.

    Returns:
        Whether the cell came to its end.

    Raises:
        DivergedError: numbers are not finite, and were so when the last good state was taken up again and
            looked at after each step; names iteration, learning rate and terms.
        OSError: a full disk; the last good checkpoint is left.
    """
    try:
        return _train(job, inputs, directory, reached, stopping, warn, careful=False)
    except DivergedError:
        pass  # its trainer is let go before there is another
    return _train(job, inputs, directory, reached, stopping, warn, careful=True)


def _train(
    job: Job,
    inputs: CellInputs,
    directory: Path,
    reached: Callable[[int], None],
    stopping: Callable[[], bool],
    warn: Callable[[str], None],
    careful: bool,
) -> bool:
    trainer = build_trainer(job, inputs)
    trainer.careful = careful
    kept = None
    if job.checkpoint is not None:
        kept = Checkpoints(job.checkpoint, job.fingerprint, job.facts(inputs), warn)
        state = kept.load(torch.device(job.device))
        if state is not None:
            trainer.load_state(state)
    reached(trainer.iteration)
    pace = Pace(job.checkpoint_share, job.checkpoint_seconds)
    for _ in trainer.iterations():
        reached(trainer.iteration)
        stop = stopping()
        if kept is not None and (stop or pace.due(trainer.between_epochs)):
            since = time.monotonic()
            trainer.check_finite()  # within an epoch nobody has looked yet
            kept.save(trainer.state())
            pace.saved(since)
        if stop and trainer.iteration < job.training.iterations:
            return False
    write_cell(job, inputs, trainer, directory)
    return True


def build_trainer(job: Job, inputs: CellInputs) -> Trainer:
    """Network, method and data of `job`, before the first iteration."""
    plan, seed, device = job.plan, job.cell.seed, torch.device(job.device)
    counts = torch.tensor(inputs.train.counts)
    task = Task(counts=counts, seed=seed, imbalance=plan.imbalance, device=device)
    method = build_method(job.method, job.settings, task)
    network = build_network(plan.network, task.classes, seed)
    if job.features is not None:
        network.load_state_dict(load_file(job.features / WEIGHTS_FILES[job.settings["start"]]))
        network = WithHead(network, method.head(network.classifier))  # type: ignore[arg-type]
    else:
        network = method.adapt(network)
    data = TrainingData(
        _images(job, inputs, inputs.train.image, inputs.train.label),
        _images(job, inputs, inputs.meta.image, inputs.meta.label),
        job.training,
        method,
        seed,
    )
    return Trainer(network.to(device), method, data, job.training, task.classes)


def _images(job: Job, inputs: CellInputs, rows: np.ndarray, labels: np.ndarray) -> Images:
    return Images.of(inputs.images[rows], labels, job.plan.mean, job.plan.std, torch.device(job.device))


def write_cell(job: Job, inputs: CellInputs, trainer: Trainer, directory: Path) -> None:
    """Write a finished training: weights (of the head alone, for a head), history, predictions, facts.

    Nothing here says what the cell is called: two variants can come to the same training, which is then
    done once.
    """
    directory.mkdir(parents=True, exist_ok=True)
    metadata = {"fingerprint": job.fingerprint}
    rows = inputs.pool.rows("test")
    labels = inputs.pool.label[rows]
    test = _images(job, inputs, inputs.pool.image[rows], labels)
    logits = {"logits": predict(trainer.model, test.pixels)}
    _save_weights(trainer.model, directory / WEIGHTS_FILES["last"])
    trainer.model.load_state_dict(trainer.selected)
    logits["logits_selected"] = predict(trainer.model, test.pixels)
    _save_weights(trainer.model, directory / WEIGHTS_FILES["selected"])

    trainer.history.write(directory / "history.parquet", metadata)
    columns = {
        "image": pa.array(inputs.pool.image[rows], pa.int64()),
        "label": pa.array(labels, pa.int64()),
        "hash": pa.array(inputs.pool.hash[rows].tolist(), pa.string()),
        **{
            name: pa.array(values.float().cpu().tolist(), pa.list_(pa.float32()))
            for name, values in logits.items()
        },
    }
    table = pa.table(columns).replace_schema_metadata({"longtail": json.dumps(metadata, sort_keys=True)})
    with atomic_path(directory / "predictions.parquet") as temporary:
        pq.write_table(table, temporary)
    write_json(directory / "timing.json", {"seconds": trainer.seconds})
    write_json(directory / "fingerprint.json", job.facts(inputs))
    write_json(directory / "cell.json", {**_facts(job, inputs, trainer), **metadata})


def _save_weights(model: nn.Module, path: Path) -> None:
    saved = model.head if isinstance(model, WithHead) else model
    state = {name: value.detach().cpu().contiguous() for name, value in saved.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state))  # a full disk is then an OSError


def _facts(job: Job, inputs: CellInputs, trainer: Trainer) -> dict[str, Any]:
    plan = job.plan
    facts: dict[str, Any] = {
        "benchmark": plan.benchmark,
        "imbalance": plan.imbalance,
        "method": plan.method,
        "head": job.cell.head,
        "seed": job.cell.seed,
        "settings": job.settings,
        "training": job.training.model_dump(mode="json"),
        "network": plan.network,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "iterations": trainer.iteration,
        "selected_iteration": trainer.selected_iteration,
        "counts": inputs.train.counts,
        "class_names": list(inputs.pool.class_names),
        "image_shape": list(inputs.pool.image_shape),
        "mean": list(plan.mean),
        "std": list(plan.std),
        "manifests": inputs.fingerprints,
        "device": job.device,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    if job.features is not None:
        facts["features"] = read_cell(job.features)["fingerprint"]
    return facts
