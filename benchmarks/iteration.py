"""Milliseconds of one training iteration, from sampling to the last updated weight.

    python -m benchmarks.iteration --device cuda
    python -m benchmarks.iteration --device cuda --batch 512

Cross-entropy and Difficulty-Net train ResNet-32 on noise in the shape of CIFAR-100-LT at imbalance 100:
sampling, AutoAugment and Cutout, meta batches, both optimisers. On a GPU each is measured plain and replayed
from CUDA graphs (`longtail.training.graphs`), in turns, without the measurements at the end of each epoch.
"""

import argparse
from pathlib import Path
from statistics import median

import torch

from benchmarks.machine import described
from benchmarks.roofline import waited
from longtail.config.benchmarks import CIFAR100_LT
from longtail.config.presets import METHODS
from longtail.data.profiles import exponential_profile
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.running.process import keep_freed_memory
from longtail.running.trials import made_up_images
from longtail.training.batches import TrainingData
from longtail.training.graphs import Record, Replays, cuda_recorder, own_stream
from longtail.training.kernels import layout, searched_kernels
from longtail.training.method import Task
from longtail.training.precision import PRECISIONS, matmul_precision, with_precision
from longtail.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
TRAINED = ("cross_entropy", "difficulty_net")
IMBALANCE = 100
TARGETS = {("cross_entropy", 128): 1.2, ("difficulty_net", 128): 4.0} | {
    ("cross_entropy", 512): 3.0,
    ("difficulty_net", 512): 8.0,
}
"""Milliseconds on one H200."""


def trainer(method: str, device: torch.device, batch: int, precision: str, record: Record | None) -> Trainer:
    """A cell of the paper's schedule on noise; replayed where something records it."""
    classes = CIFAR100_LT.classes or 0
    counts = exponential_profile(CIFAR100_LT.n_max or 0, IMBALANCE, classes)
    settings = METHODS[method].settings.model_validate({}).model_dump(by_alias=True)
    chosen = build_method(method, settings, Task(torch.tensor(counts), 1, IMBALANCE, device))
    training = CIFAR100_LT.represent.model_copy(update={"batch_size": batch})
    order = layout(device, precision)
    train = made_up_images(counts, 1, CIFAR100_LT, device, order)
    meta = made_up_images([CIFAR100_LT.meta_per_class] * classes, 2, CIFAR100_LT, device, order)
    data = TrainingData(train, meta, training, chosen, seed=1)
    network = with_precision(build_network("resnet32", classes, seed=1), precision).to(device)
    made = Trainer(network, chosen, data, training, classes)
    made.replays = None if record is None else Replays(record)
    return made


def milliseconds(trainers: dict[str, Trainer], iterations: int, rounds: int) -> dict[str, list[float]]:
    """Of one iteration of each trainer, by rounds of `iterations`; the first two warm up and are left out."""
    device = next(iter(trainers.values())).data.train.labels.device
    running = {name: own.iterations() for name, own in trainers.items()}
    taken: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(-2, rounds):
        for name, own in trainers.items():
            while (own.iteration % own.data.batches_per_epoch) + iterations >= own.data.batches_per_epoch:
                next(running[name])  # to the next epoch, past its end's measurements
            start = waited(device)
            for _ in range(iterations):
                next(running[name])
            if turn >= 0:
                taken[name].append(1000 * (waited(device) - start) / iterations)
    return taken


def report(taken: dict[str, list[float]], trainers: dict[str, Trainer], batch: int, told: str) -> str:
    """The table, in Markdown."""
    rows = []
    for name, values in taken.items():
        replays = trainers[name].replays
        target = TARGETS.get((name.partition(",")[0], batch))
        wanted = f"{target:g}" if target and replays else ""
        cell_minutes = median(values) * CIFAR100_LT.represent.iterations / 60_000
        how = replays.told if replays else "plain"
        rows.append(f"| {name} | {median(values):.2f} | {wanted} | {cell_minutes:.1f} | {how} |")
    return "\n".join(
        [
            told,
            "",
            f"ResNet-32, batch {batch}, meta batch {CIFAR100_LT.represent.meta_batch_size}; medians of "
            f"{len(next(iter(taken.values())))} rounds in turns.",
            "",
            "| | ms an iteration | wanted on an H200 | minutes for 12,800 | |",
            "| --- | --: | --: | --: | --- |",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write benchmarks/results/iteration_<device>_<batch>.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--iterations", type=int, help="of a round (on a GPU 40, on a CPU 2)")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "iteration: no CUDA device here; leave out --device cuda\n")
    device = torch.device(given.device)
    keep_freed_memory()
    torch.set_num_threads(1)
    on_gpu = device.type == "cuda"
    iterations = given.iterations or min(40 if on_gpu else 2, 5120 // given.batch)
    with matmul_precision(given.precision), searched_kernels(device), own_stream(device):
        records = {"plain": None, "replayed": cuda_recorder()} if on_gpu else {"plain": None}
        trainers = {
            f"{method}, {how}": trainer(method, device, given.batch, given.precision, record)
            for method in TRAINED
            for how, record in records.items()
        }
        taken = milliseconds(trainers, iterations, given.rounds)
    where = torch.cuda.get_device_name(device) if on_gpu else "one thread"
    command = f"python -m benchmarks.iteration --device {device.type} --batch {given.batch}"
    precision = "" if given.precision == "float32" else f" --precision {given.precision}"
    text = report(taken, trainers, given.batch, f"`{command}{precision}`: {where}; {described()}.")
    print(text)
    name = "_".join(["iteration", device.type, str(given.batch), *precision.split()[1:]])
    (RESULTS / f"{name}.md").write_text(f"# One iteration of a training\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
