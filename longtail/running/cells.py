"""One cell, from its plan to its files: training (of a head, for some) and prediction of the test split."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save
from torch import nn

from longtail.data.image_files import UPRIGHT
from longtail.errors import DivergedError
from longtail.files import atomic_path, write_json
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.networks.heads import WithHead
from longtail.networks.imagenet import load_backbone
from longtail.networks.weights import load_weights
from longtail.parquet_files import write_parquet
from longtail.running.cell_folders import WEIGHTS_FILES, read_cell, sums, write_cell_record
from longtail.running.cell_record import CellRecord
from longtail.running.checkpoints import Checkpoints, SaveRhythm
from longtail.running.jobs import CellInputs, Job
from longtail.running.process import release_memory
from longtail.training.batches import Images, TrainingData
from longtail.training.graphs import own_stream
from longtail.training.image_sets import ImageSet
from longtail.training.kernels import layout, searched_kernels
from longtail.training.method import Task
from longtail.training.precision import matmul_precision, with_precision
from longtail.training.trainer import Trainer, predict

if TYPE_CHECKING:
    from longtail.training.from_files.decoders import Decoders


def train_cell(
    job: Job,
    inputs: CellInputs,
    directory: Path,
    reached: Callable[[int], None] = lambda iteration: None,
    stopping: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda line: None,
) -> bool:
    """Train the cell of `job` and write its files into `directory` (see `write_cell`).

    A checkpoint of the same fingerprint is resumed where it stopped. Test images are touched only by the
    prediction, after the last iteration.

    Args:
        reached: told how many iterations are done.
        stopping: asked after each iteration. Once it is true, a checkpoint is saved, and nothing written.
        warn: told, in one line, of a checkpoint that cannot be used, and why iterations are not replayed.

    Returns:
        Whether the cell came to its end.

    Raises:
        DivergedError: numbers are not finite, and were so when the last good state was resumed and
            looked at after each step; names iteration, learning rate and terms.
        OSError: a full disk; the last good checkpoint is left.
        MachineError: another rank of `job.ranks` is gone.
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
    release_memory(torch.device(job.device))
    job.ranks.part(len(inputs.pool.rows("test")))  # refused now rather than after the last iteration
    with (
        matmul_precision(job.training.precision),
        searched_kernels(torch.device(job.device)),
        own_stream(torch.device(job.device)),
        decoders_of(job, inputs) as decoders,
    ):
        trainer = build_trainer(job, inputs, decoders)
        trainer.careful = careful
        if trainer.replays is not None:
            trainer.replays.warn = lambda line: warn(f"{job.name}: {line}")
        kept = None
        if job.checkpoint is not None:
            kept = Checkpoints(job.checkpoint, job.fingerprint, job.facts(inputs), warn)
            state = kept.load(torch.device(job.device))
            if state is not None:
                trainer.load_state(state)
        reached(trainer.iteration)
        rhythm = SaveRhythm(job.checkpoint_share, job.checkpoint_seconds)
        for _ in trainer.iterations():
            reached(trainer.iteration)
            due = job.ranks.rank == 0 and rhythm.due(trainer.between_epochs)  # by one clock
            stop, due = job.ranks.largest(stopping(), due)
            if kept is not None and (stop or due):
                since = time.monotonic()
                trainer.check_finite()  # within an epoch nobody has looked yet
                if job.ranks.rank == 0:
                    kept.save(trainer.state())
                rhythm.saved(since)
            if stop and trainer.iteration < job.training.iterations:
                return False
        write_cell(job, inputs, trainer, directory, decoders)
    return True


@contextmanager
def decoders_of(job: Job, inputs: CellInputs) -> Iterator[Decoders | None]:
    """The processes that decode the images of `inputs`; None if they are in memory."""
    if isinstance(inputs.images, np.ndarray):
        yield None
        return
    # here, not above: it imports torchvision, which takes seconds
    from longtail.training.from_files.decoders import Decoders

    decoders = Decoders(job.decoders)
    try:
        yield decoders
    finally:
        decoders.close()


def build_trainer(job: Job, inputs: CellInputs, decoders: Decoders | None = None) -> Trainer:
    """Network, method and data of `job`, before the first iteration; `decoders` for images that are files."""
    plan, seed, device = job.plan, job.cell.seed, torch.device(job.device)
    counts = torch.tensor(inputs.train.counts)
    task = Task(counts=counts, seed=seed, imbalance=plan.imbalance, device=device)
    method = build_method(job.method, job.settings, task)
    network = build_network(plan.network, task.classes, seed)
    if job.features is not None:
        load_weights(network, job.features / WEIGHTS_FILES[job.settings["start"]])
        head = method.head(network.classifier)  # type: ignore[arg-type]
        network = WithHead(network, head, job.settings.get("batch_norm", "frozen"))
        network = with_precision(network, job.training.precision)
    else:
        if job.weights is not None:
            load_backbone(network, job.weights)  # type: ignore[arg-type]
        if not job.training.backbone_rate:
            network.freeze_backbone()  # type: ignore[operator]
        # before the method, which may copy the network
        network = method.adapt(with_precision(network, job.training.precision))
    data = TrainingData(
        _images(job, inputs, inputs.train.image, inputs.train.label, decoders),
        _images(job, inputs, inputs.meta.image, inputs.meta.label, decoders),
        job.training,
        method,
        seed,
    )
    return Trainer(network.to(device), method, data, job.training, task.classes)


def _images(
    job: Job, inputs: CellInputs, rows: np.ndarray, labels: np.ndarray, decoders: Decoders | None
) -> ImageSet:
    """The images with these numbers (the column `image` of the pool)."""
    device, mean, std = torch.device(job.device), job.plan.mean, job.plan.std
    order = layout(device, job.training.precision)
    if isinstance(inputs.images, np.ndarray):
        return Images.of(inputs.images[rows], labels, mean, std, device, order, job.ranks)
    from longtail.training.from_files.file_images import FileImages

    assert decoders is not None
    files, hashes = inputs.pool.files(inputs.images, rows)
    side = inputs.pool.image_shape[0]
    own = torch.from_numpy(labels).to(device)
    return FileImages(files, hashes, own, side, mean, std, decoders, order, job.ranks)


def write_cell(
    job: Job, inputs: CellInputs, trainer: Trainer, directory: Path, decoders: Decoders | None = None
) -> None:
    """Write a finished training: weights (what it trained, for a head), history, predictions, facts.

    Nothing here says what the cell is called: two variants can come to the same training, which is then
    done once. All ranks predict, and rank 0 writes.
    """
    metadata = {"fingerprint": job.fingerprint}
    rows = inputs.pool.rows("test")
    labels = inputs.pool.label[rows]
    test = _images(job, inputs, inputs.pool.image[rows], labels, decoders)
    logits, weights = {"logits": predict(trainer.model, test)}, {"last": _weights(trainer.model)}
    trainer.model.load_state_dict(trainer.selected)
    logits["logits_selected"] = predict(trainer.model, test)
    if job.ranks.rank > 0:
        return
    weights["selected"] = _weights(trainer.model)
    directory.mkdir(parents=True, exist_ok=True)
    for which, name in WEIGHTS_FILES.items():
        with atomic_path(directory / name) as temporary:
            temporary.write_bytes(weights[which])  # a full disk is then an OSError

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
    write_parquet(directory / "predictions.parquet", pa.table(columns), metadata)
    rates = trainer.data.throughput.rates(trainer.data.train.decoding_rate)
    recorded = None if trainer.replays is None else trainer.replays.told
    write_json(directory / "timing.json", {"seconds": trainer.seconds, **rates, "recorded": recorded})
    write_json(directory / "fingerprint.json", job.facts(inputs))
    write_cell_record(directory, _record(job, inputs, trainer, sums(directory)))


def _weights(model: nn.Module) -> bytes:
    saved = model.trained if isinstance(model, WithHead) else model
    return save({name: value.detach().cpu().contiguous() for name, value in saved.state_dict().items()})


def _record(job: Job, inputs: CellInputs, trainer: Trainer, files: dict[str, str]) -> CellRecord:
    plan = job.plan
    more: dict[str, Any] = {} if job.features is None else {"features": read_cell(job.features).fingerprint}
    more |= {} if inputs.pool.rules == UPRIGHT else {"pixel_rules": inputs.pool.rules}
    chosen = trainer.method.choice()
    more |= {} if chosen is None else {"choice": chosen}
    ranks = {"ranks": plan.ranks, "features_ranks": plan.features_ranks}
    more |= {name: size for name, size in ranks.items() if size > 1}
    return CellRecord(
        fingerprint=job.fingerprint,
        benchmark=plan.benchmark,
        imbalance=plan.imbalance,
        method=plan.method,
        head=job.cell.head,
        seed=job.cell.seed,
        settings=job.settings,
        training=job.training,
        network=plan.network,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        iterations=trainer.iteration,
        selected_iteration=trainer.selected_iteration,
        counts=inputs.train.counts,
        class_names=list(inputs.pool.class_names),
        image_shape=inputs.pool.image_shape,  # pyright: ignore[reportArgumentType]
        mean=list(plan.mean),
        std=list(plan.std),
        manifests=inputs.fingerprints,
        disjoint=inputs.disjoint,  # pyright: ignore[reportArgumentType]
        device=job.device,
        versions={"torch": torch.__version__, "python": platform.python_version()},
        files=files,
        **more,
    )
