"""Checks of this machine, and measurements of its speed."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from longtail.config.benchmarks import BENCHMARKS, DIGITS_LT, IMAGENET_LT, Benchmark
from longtail.config.layouts import TableLayout, read_layouts
from longtail.config.params import Params, read_params
from longtail.errors import flat
from longtail.pipeline import console, paths
from longtail.pipeline.devices import choose_device, cores, cuda_problem, device_name
from longtail.pipeline.hours import hours, speeds_file
from longtail.planning.planner import plan_bundles
from longtail.running.process import (
    deterministic_wanted,
    keep_freed_memory,
    release_memory,
    use_deterministic,
)
from longtail.running.programme import Step, programme, row_name, select_cells
from longtail.running.speeds import Speeds
from longtail.running.trials import Trial, seconds_per_iteration
from longtail.training.finite import tensors_of
from longtail.training.graphs import own_stream
from longtail.training.kernels import layout, searched_kernels
from longtail.training.precision import PRECISIONS, matmul_precision

PACKAGES = ("torch", "torchvision", "numpy", "pyarrow", "dvc", "mlflow")
METHODS = ("cross_entropy", "difficulty_net")
ALIKE = 8
"""Iterations of the trainings that are compared."""
PHOTOGRAPHS = 48
"""That are decoded, of 500 x 375 pixels as in ImageNet."""


def examine(wanted: str, jobs: int) -> None:
    """Print all checks, and keep the speeds. Raises InputError."""
    paths.check_repository()
    params = read_params()
    say("versions", _versions())
    device = torch.device(choose_device(wanted))
    say("devices", _devices(device))
    say("disk", f"{shutil.disk_usage(paths.repository()).free / 1e9:,.0f} GB free at {paths.repository()}")
    keep_freed_memory()
    if deterministic_wanted():
        use_deterministic()
    torch.set_num_threads(1)  # as in a training
    say("decoding", _decoding())
    if device.type == "cpu":
        say("graphs", "iterations are recorded on a GPU only")
    with searched_kernels(device), own_stream(device):
        with matmul_precision("float32"):
            say("determinism", _determinism(device))
            found = {
                network: {method: _speed(benchmark, network, method, device) for method in METHODS}
                for network, benchmark in _networks()
            }
        if device.type == "cuda":
            for network, benchmark in _networks():
                say("layouts", f"{network}: {_layouts(benchmark, network, device)}")
    measured = {name: {m: s for m, s in own.items() if s is not None} for name, own in found.items()}
    speeds = Speeds(
        device=device.type,
        hardware=device_name(device.type),
        torch=torch.__version__,
        date=f"{date.today():%Y-%m-%d}",
        seconds_per_pass={name: own for name, own in measured.items() if own},
    )
    speeds.write(speeds_file())
    workers = jobs or (torch.cuda.device_count() if device.type == "cuda" else cores())
    for benchmark, table in _tables():
        steps = _steps(benchmark, table, params)
        trainings = console.counted(len(steps), "training")
        say("hours", f"table {table.number}, {benchmark.name}: {trainings}, {hours(steps, speeds, workers)}")
    scaled = " of few images, scaled to full batches" if device.type == "cpu" else ""
    console.done(
        "doctor", f"{speeds_file()}; hours are those of the iterations{scaled}, one training a worker"
    )


def say(check: str, text: str) -> None:
    """Print the result of one check."""
    console.say("doctor", f"{check:<12} {text}")


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return ", ".join(found)


def _devices(device: torch.device) -> str:
    problem = cuda_problem()
    if problem is not None:
        return f"{device_name('cpu')}; no CUDA: {problem}"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    built = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{device_name('cpu')}; {', '.join(names)} ({built}); used: {device.type}"


def _decoding() -> str:
    """Speed of one process, with the augmentation of a training."""
    import hashlib

    from longtail.training.from_files.decoders import Order, decoded
    from longtail.training.from_files.photographs import DRAWS

    y, x = np.mgrid[:375, :500]
    pixels = np.stack([x % 256, y % 256, (x + y) % 256], axis=2) + np.random.default_rng(0).integers(
        0, 40, (375, 500, 3)
    )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "photograph.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
        draws = np.random.default_rng(1).random((PHOTOGRAPHS, DRAWS))
        files = [(file, hashlib.sha256(file.read_bytes()).hexdigest())] * PHOTOGRAPHS
        start = time.perf_counter()
        decoded(Order(files, "photo", draws, IMAGENET_LT.image_shape[0]))
        rate = PHOTOGRAPHS / (time.perf_counter() - start)
    return f"{rate:,.0f} photographs/s a process, {console.counted(cores(), 'core')}"


def _determinism(device: torch.device) -> str:
    """Two trainings of a few iterations from the same seed."""
    states = []
    for _ in range(2):
        trial = Trial(DIGITS_LT, DIGITS_LT.networks[0], "difficulty_net", batch=64, meta=64)
        trainer = trial.trainer(device)
        running = trainer.iterations()
        for _ in range(ALIKE):
            next(running)
        states.append(tensors_of(trainer.state()))
    if all(torch.equal(value, states[1][name]) for name, value in states[0].items()):
        return "the same training twice gave the same bytes"
    return "the same training twice gave other last digits; LONGTAIL_DETERMINISTIC=1 prevents that"


def _networks() -> Iterator[tuple[str, Benchmark]]:
    """Each network, with the first benchmark that has it."""
    seen: set[str] = set()
    for benchmark in BENCHMARKS.values():
        for network in benchmark.networks:
            if benchmark.classes is not None and network not in seen:
                seen.add(network)
                yield network, benchmark


def _speed(benchmark: Benchmark, network: str, method: str, device: torch.device) -> float | None:
    """Measure and print; seconds that an image's pass takes, None if it did not run."""
    trial = Trial.fitting(benchmark, network, method, device)
    release_memory(device)
    try:
        trainer = trial.trainer(device)
        taken = seconds_per_iteration(trainer)
    except RuntimeError as error:  # out of memory
        say("speed", f"{network}, {method}: did not run: {flat(error)}")
        return None
    replayed = f"; {trainer.replays.told}" if trainer.replays is not None else ""
    say(
        "speed",
        f"{network}, {method}: {1000 * taken:,.1f} ms an iteration of {trial.batch} images, "
        f"{trial.meta} of the meta set{replayed}",
    )
    return taken / trial.image_passes


def _layouts(benchmark: Benchmark, network: str, device: torch.device) -> str:
    """Milliseconds of cross-entropy by precision and order of memory; the chosen order has a star."""
    orders = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    found = []
    for precision in PRECISIONS:
        for name, order in orders.items():
            release_memory(device)
            trial = Trial.fitting(benchmark, network, "cross_entropy", device)
            with matmul_precision(precision):
                try:
                    taken = 1000 * seconds_per_iteration(trial.trainer(device, precision, order))
                except RuntimeError as error:
                    return f"did not run: {flat(error)}"
            star = "*" if order == layout(device, precision) else ""
            found.append(f"{precision} {name}{star} {taken:,.1f} ms")
    return ", ".join(found)


def _tables() -> Iterator[tuple[Benchmark, TableLayout]]:
    """The paper's tables, each with its benchmark."""
    for table in read_layouts().tables:
        for name in table.benchmarks:
            yield BENCHMARKS[name], table


def _steps(benchmark: Benchmark, table: TableLayout, params: Params) -> list[Step]:
    """The trainings behind a table, each once."""
    # weights to start from change no time, and may not be here yet; a table has all its rows
    every = params.model_copy(update={"variants": None})
    plans = plan_bundles(benchmark.model_copy(update={"pretrained": False}), every)
    wanted = {(row.variant, row.head) for row in table.rows}
    planned = [cell for plan in plans for cell in plan.cells()]
    rows = [row_name(cell) for cell in planned if (cell.variant, cell.head) in wanted]
    largest = [] if table.columns == "imbalances" else [max(plan.imbalance for plan in plans)]
    return programme(plans, select_cells(plans, list(dict.fromkeys(rows)), largest, []), {})
