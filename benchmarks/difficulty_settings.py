"""Which settings of D make Difficulty-Net help, at a tenth of the schedule? Chosen on the meta set alone.

    dvc repro paper/cifar100-lt/dvc.yaml:extract_meta@100    # params.yaml names the images
    python -m benchmarks.difficulty_settings KEPT [--only NAME ...]

Each try is one training of seed 1, a tenth of the full one: with D about an hour of one core. Its history
and the test images that it had right go into the folder KEPT, and a try found there is not trained again. So
several processes can share the tries, and the last one prints the table.

The test set is predicted after each epoch as well. It chooses nothing here: it tells how much the best epoch
on the test set, which some code releases print, flatters a method.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.machine import described
from longtail.config.params import read_params
from longtail.pipeline.inputs import read_inputs
from longtail.planning.planner import plan_bundles
from longtail.planning.plans import BundlePlan
from longtail.reporting.comparisons import mcnemar
from longtail.running.cells import build_trainer
from longtail.running.jobs import CellInputs, Job
from longtail.training.batches import Images
from longtail.training.trainer import Trainer, predict

RESULTS = Path(__file__).parent / "results" / "difficulty_settings.md"
BENCHMARK, IMBALANCE, SEED, FRACTION = "cifar100-lt", 100, 1, 0.1
REFERENCE = "cross-entropy"
TRIES: dict[str, tuple[str, dict[str, Any]]] = {
    REFERENCE: ("cross_entropy", {}),
    "published": ("difficulty_net", {}),
    "rate 1e-4": ("difficulty_net", {"learning_rate": 1e-4}),
    "rate 1e-4, sum in Eq. 7": ("difficulty_net", {"learning_rate": 1e-4, "driver_reduction": "sum"}),
}
"""By name: the variant, and what differs from its preset. Adam moves theta by about the rate a step, so at a
tenth of the schedule ten times the rate is the published training."""


def planned(variant: str, settings: dict[str, Any]) -> BundlePlan:
    """The bundle of `variant` at a tenth of the schedule, with these settings."""
    params = read_params()
    schedule = params.schedule.model_copy(update={"fraction": FRACTION})
    methods = {**params.methods, variant: {**params.methods.get(variant, {}), **settings}}
    update = {
        "imbalances": {BENCHMARK: [IMBALANCE]},
        "seeds": [SEED],
        "schedule": schedule,
        "methods": methods,
    }
    plans = plan_bundles(params.benchmark(BENCHMARK), params.model_copy(update=update))
    return next(plan for plan in plans if plan.bundle == variant)


def train(name: str, inputs: CellInputs, kept: Path) -> None:
    """Train one try; write its rows and the classes predicted for the test images after each epoch."""
    variant, settings = TRIES[name]
    plan = planned(variant, settings)
    trainer = build_trainer(Job(plan, plan.cells()[0], fingerprint="of no use"), inputs)
    rows = inputs.pool.rows("test")
    pixels, labels = np.asarray(inputs.images)[inputs.pool.image[rows]], inputs.pool.label[rows]
    test = Images.of(pixels, labels, plan.mean, plan.std, torch.device("cpu"))
    right: list[np.ndarray] = []

    def after_epoch(trainer: Trainer) -> None:
        right.append(predict(trainer.model, test).argmax(dim=1).numpy() == labels)
        print(
            f"{name}: iteration {trainer.iteration} of {trainer.training.iterations}, meta "
            f"{100 * trainer.history.rows[-1]['meta_accuracy']:.1f} %, {trainer.seconds / 60:.0f} min",
            flush=True,
        )

    trainer.run(after_epoch)
    np.save(kept / f"{name}.npy", np.stack(right))
    trainer.history.write(kept / f"{name}.parquet", {})


def row(name: str, kept: Path) -> list[str]:
    """The line of one try: the meta accuracy that chooses, and what the test set says then."""
    history = pd.read_parquet(kept / f"{name}.parquet").iloc[1:]  # row 0 stands before any training
    right = np.load(kept / f"{name}.npy", allow_pickle=False)
    reference = np.load(kept / f"{REFERENCE}.npy", allow_pickle=False)[-1]
    meta, test = 100 * history["meta_accuracy"].to_numpy(), 100 * right.mean(axis=1)
    selected = int(meta.argmax())
    accuracies = (meta[-1], meta[selected], test[-1], test[selected], test.max())
    spread = entropy = against = ""
    if name != REFERENCE:
        weights = np.stack(history["weight"].tolist())
        spread, entropy = f"{weights.min():.2f}–{weights.max():.2f}", f"{history['entropy'].max():.1e}"
        only, other = int((right[-1] & ~reference).sum()), int((reference & ~right[-1]).sum())
        against = f"{only} : {other}, p = {mcnemar(only, other):.2g}"
    return [name, *[f"{value:.1f}" for value in accuracies], spread, entropy, against]


def main() -> None:
    """Train the tries that are not in KEPT yet; print the table, and write it when it is complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kept", type=Path, metavar="KEPT")
    parser.add_argument("--only", nargs="+", choices=list(TRIES), default=list(TRIES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.kept.mkdir(parents=True, exist_ok=True)
    inputs = read_inputs(planned(*TRIES[REFERENCE]))
    for name in given.only:
        if not (given.kept / f"{name}.parquet").is_file():
            train(name, inputs, given.kept)
    finished = [name for name in TRIES if (given.kept / f"{name}.parquet").is_file()]
    if REFERENCE not in finished:
        return
    columns = ("meta, last", "meta, best", "test, last", "test, best on meta", "test, best epoch on test")
    columns = ("try", *columns, "weights", "highest entropy", "only this : only cross-entropy, McNemar")
    lines = [
        "# Settings of D at a tenth of the schedule",
        "",
        f"`python -m benchmarks.difficulty_settings KEPT`: {BENCHMARK}, imbalance {IMBALANCE}, seed {SEED}, "
        f"{FRACTION:g} of the schedule. {described()}, one thread.",
        "",
        "Percent. The last column counts test images, after the last iteration, with McNemar's exact test.",
        "",
        f"| {' | '.join(columns)} |",
        f"| --- |{' --: |' * 5} --- | --: | --- |",
    ]
    lines += [f"| {' | '.join(row(name, given.kept))} |" for name in finished]
    print("\n".join(lines))
    if len(finished) == len(TRIES):
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
