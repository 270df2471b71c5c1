"""Where the time of a cross-entropy cell goes: one epoch of CIFAR-100-LT's training at imbalance 100.

    python -m benchmarks.loop

The images are noise (10,302 training and 2,500 meta images of 32x32), everything else is the real training:
sampling, AutoAugment and Cutout, ResNet-32, SGD, and the accuracies on the meta set at the epoch's end.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import described
from longtail.config.benchmarks import CIFAR100_LT
from longtail.config.presets import METHODS
from longtail.data.profiles import exponential_profile
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.running.process import keep_freed_memory
from longtail.running.trials import made_up_images
from longtail.training.batches import TrainingData
from longtail.training.method import Task
from longtail.training.precision import matmul_precision
from longtail.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "loop.md"
TARGET = 0.9
IMBALANCE = 100


def timed(function: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    """`function`, with the seconds that it takes added to `spent[name]`."""

    def wrapper(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **named)
        spent[name] += time.perf_counter() - start  # type: ignore[assignment]
        return result

    return wrapper


def one_epoch() -> tuple[float, dict[str, float], int]:
    """Seconds of the epoch, those of its parts, and its number of iterations."""
    classes = CIFAR100_LT.classes or 0
    counts = exponential_profile(CIFAR100_LT.n_max or 0, IMBALANCE, classes)
    task = Task(torch.tensor(counts), 1, IMBALANCE)
    method = build_method("cross_entropy", METHODS["cross_entropy"].settings().model_dump(), task)
    cpu = torch.device("cpu")
    train = made_up_images(counts, 1, CIFAR100_LT, cpu)
    meta = made_up_images([CIFAR100_LT.meta_per_class] * classes, 2, CIFAR100_LT, cpu)
    training = CIFAR100_LT.represent
    data = TrainingData(train, meta, training, method, seed=1)
    model = build_network("resnet32", classes, seed=1)
    trainer = Trainer(model, method, data, training, classes)
    spent: Counter[str] = Counter()
    trainer.optimiser.step = timed(trainer.optimiser.step, "optimiser", spent)
    method.backward = timed(method.backward, "forward and backward", spent)
    data.train_batch = timed(data.train_batch, "sampling and augmentation", spent)
    running = trainer.iterations()
    next(running)  # warms up, and is not counted
    spent.clear()
    start = time.perf_counter()
    for _ in running:
        if trainer.between_epochs:
            break
    return time.perf_counter() - start, dict(spent), trainer.iteration - 1


def main() -> None:
    """Measure, print, and write benchmarks/results/loop.md."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    with matmul_precision("float32"):
        total, spent, iterations = one_epoch()
    names = ("forward and backward", "optimiser", "sampling and augmentation")
    rest = total - sum(spent[name] for name in names)
    rows = [(name, spent[name]) for name in names] + [("accuracies on the meta set, and all else", rest)]
    share = (spent["forward and backward"] + spent["optimiser"]) / total
    verdict = "met" if share >= TARGET else "missed"
    text = "\n".join(
        [
            f"`python -m benchmarks.loop`: {described()}, one thread.",
            "",
            f"One epoch of cross-entropy, ResNet-32, {iterations} iterations of 128 images: {total:.1f} s.",
            "",
            "| | seconds | share |",
            "| --- | --: | --: |",
            *(f"| {name} | {seconds:.2f} | {seconds / total:.1%} |" for name, seconds in rows),
            "",
            f"Forward, backward and optimiser: {share:.1%} (target: at least {TARGET:.0%}): {verdict}",
            "",
        ]
    )
    print(text)
    RESULTS.write_text(f"# Where the time of a cell goes\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
