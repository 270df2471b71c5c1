"""What checkpoints cost: the time of one, and the share of a training that they take by default.

    python -m benchmarks.saving

The share is that of two trainings on digits-LT, on one thread. A save is: serialise, hash, write, fsync, read
back, hash, rename; larger networks are saved without a training, with momentum and best weights.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from benchmarks.kills import digits, job_of
from benchmarks.machine import described
from longtail.networks import build_network
from longtail.running.cells import build_trainer
from longtail.running.checkpoints import Checkpoints, SaveRhythm
from longtail.running.jobs import Job
from longtail.training.trainer import Trainer, copied

RESULTS = Path(__file__).parent / "results" / "saving.md"


def training_share(job: Job, trainer: Trainer, path: Path) -> tuple[int, float, float, float]:
    """Saves, the longest time between two, seconds of all saves and of the whole, as `train_cell` does it."""
    kept, pace = Checkpoints(path, job.fingerprint), SaveRhythm(job.checkpoint_share, job.checkpoint_seconds)
    start = last = time.monotonic()
    saves, longest = 0, 0.0
    for _ in trainer.iterations():
        if pace.due(trainer.between_epochs):
            since = time.monotonic()
            longest, last = max(longest, since - last), since
            trainer.check_finite()
            kept.save(trainer.state())
            pace.saved(since)
            saves += 1
    now = time.monotonic()
    return saves, max(longest, now - last), pace.spent, now - start


def seconds_of_a_save(network: nn.Module, path: Path) -> tuple[float, int]:
    """Median time and size of the checkpoint of a network with its momentum and its best weights."""
    state = {"model": network.state_dict(), "optimiser": [*network.parameters()], "selected": copied(network)}
    kept, taken = Checkpoints(path, "fingerprint"), []
    for _ in range(9):
        start = time.monotonic()
        kept.save({"iteration": 0, **state})
        taken.append(time.monotonic() - start)
    return median(taken), path.stat().st_size


def main() -> None:
    """Print the figures and write them to `benchmarks/results/saving.md`."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    inputs = digits()
    lines = [
        "# What checkpoints cost",
        "",
        f"`python -m benchmarks.saving`: {described()}, one thread.",
        "",
        "| training on digits-LT | saves | share of the time | at most lost by a kill |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cross_entropy", "difficulty_net"):
            job, _ = job_of(kind, inputs, 1.0, Path(folder))
            trainer = build_trainer(replace(job, checkpoint=None), inputs)
            saves, longest, spent, whole = training_share(job, trainer, Path(folder) / kind)
            lines.append(
                f"| {kind}, {whole:.1f} s | {saves} | {100 * spent / whole:.2f} % | {longest:.1f} s |"
            )
        lines += ["", "| checkpoint of | size | a save |", "| --- | --- | --- |"]
        for name, classes in (("digits_resnet", 10), ("resnet32", 100), ("resnet152", 365)):
            seconds, size = seconds_of_a_save(build_network(name, classes, 1), Path(folder) / name)
            lines.append(f"| {name}, {classes} classes | {size / 2**20:.1f} MiB | {seconds * 1e3:.0f} ms |")
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
