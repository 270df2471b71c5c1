"""Iterations per second of several cells training at once, compared with one.

    python -m benchmarks.at_once --device cuda --cells 1 2 4

Each cell is its own process, as the stages start them with `--jobs`, and trains Difficulty-Net as in
`benchmarks.iteration`. On one GPU, training at once pays if it raises the sum at least 1.5 times.
"""

import argparse
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.iteration import trainer
from benchmarks.machine import described
from benchmarks.roofline import waited
from longtail.running.process import keep_freed_memory
from longtail.training.graphs import cuda_recorder, own_stream
from longtail.training.kernels import searched_kernels
from longtail.training.precision import matmul_precision

RESULTS = Path(__file__).parent / "results"
METHOD = "difficulty_net"
TARGET = 1.5
LONGEST = 300.0
"""Seconds until all must be warm; if not, a process has failed and says why."""
WARM = 3
"""Iterations before the clock starts; a CUDA graph is recorded in the third."""


def train(kind: str, batch: int, seconds: float, barrier: Any, rates: Any) -> None:
    """In a process of its own: train for some seconds once all are warm; leaves iterations per second."""
    device = torch.device(kind)
    keep_freed_memory()
    torch.set_num_threads(1)
    with matmul_precision("float32"), searched_kernels(device), own_stream(device):
        own = trainer(METHOD, device, batch, "float32", cuda_recorder() if kind == "cuda" else None)
        running = own.iterations()
        for _ in range(WARM):
            next(running)
        waited(device)
        barrier.wait()
        start = now = time.perf_counter()
        before = own.iteration
        while now - start < seconds:
            next(running)
            now = waited(device) if own.iteration % 10 == 0 or kind == "cpu" else time.perf_counter()
        rates.put((own.iteration - before) / (waited(device) - start))


def together(cells: int, kind: str, batch: int, seconds: float) -> float:
    """Iterations per second of all cells."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(cells, timeout=LONGEST), context.Queue()
    processes = [
        context.Process(target=train, args=(kind, batch, seconds, barrier, rates)) for _ in range(cells)
    ]
    for process in processes:
        process.start()
    found = sum(rates.get(timeout=LONGEST + 2 * seconds) for _ in processes)
    for process in processes:
        process.join()
    return found


def main() -> None:
    """Measure, print, and write benchmarks/results/at_once_<device>.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "at_once: no CUDA device here; leave out --device cuda\n")
    rates = {cells: together(cells, given.device, given.batch, given.seconds) for cells in given.cells}
    alone = rates[given.cells[0]]
    where = torch.cuda.get_device_name() if given.device == "cuda" else "one thread a cell"
    command = (
        f"python -m benchmarks.at_once --device {given.device} --cells {' '.join(map(str, given.cells))}"
    )
    text = "\n".join(
        [
            f"`{command}`: {where}; {described()}.",
            "",
            f"Difficulty-Net, ResNet-32, batch {given.batch}, {given.seconds:g} s each.",
            "",
            f"| cells at once | iterations a second, in all | times {given.cells[0]} |",
            "| --: | --: | --: |",
            *(f"| {cells} | {rate:.2f} | {rate / alone:.2f} |" for cells, rate in rates.items()),
            "",
            f"Training at once pays from {TARGET} times on.",
            "",
        ]
    )
    print(text)
    (RESULTS / f"at_once_{given.device}.md").write_text(f"# Cells at once\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
