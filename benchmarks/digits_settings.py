"""How the presets' settings for digits-LT were chosen: accuracy on the meta set, for each value tried.

    dvc repro subsample extract_meta
    python -m benchmarks.digits_settings

Imbalance 50, three seeds, weights after the last iteration, everything else as in the preset. Test images are
not used. Heads train on the cross-entropy features of the same seed.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.machine import described
from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params, read_params
from longtail.config.presets import METHODS
from longtail.pipeline.bundles import read_inputs
from longtail.planning.planner import plan_bundles
from longtail.planning.plans import BundlePlan
from longtail.running.cells import build_trainer, train_cell
from longtail.running.jobs import CellInputs, Job

RESULTS = Path(__file__).parent / "results" / "digits_settings.md"
IMBALANCE = 50
SEEDS = [1, 2, 3]
HEAD_FEATURES = "cross_entropy"
TRIED: dict[str, list[dict[str, Any]]] = {
    "cb_da": [{"start": 0.5}, {"start": 0.8}, {"epsilon_learning_rate": 0.0}],
    "class_balanced": [{"beta": value} for value in (0.99, 0.9999)],
    "dro_lt": [{"temperature": value} for value in (0.07, 0.5, 1.0, 2.0, 5.0, 10.0)],
    "eql": [{"threshold": value} for value in (0.03, 0.05, 0.1)],
    "lade": [{"alpha": value} for value in (0.01, 0.03, 0.1)],
    "ldam": [{"scale": value} for value in (5.0, 10.0, 16.0, 30.0)],
    "meta_weight_net": [{"learning_rate": value} for value in (1e-5, 0.01, 0.03, 0.1, 0.3)],
    "mixup": [{"alpha": value} for value in (0.2, 1.0)],
    "paco": [
        {"temperature": temperature, "alpha": alpha, "balanced": balanced}
        for balanced in (False, True)
        for temperature, alpha in ((0.05, 0.01), (0.2, 0.02), (0.5, 0.02), (0.5, 0.05), (0.5, 0.2))
    ],
    "balms": [{"kappa": value} for value in (0.0, 0.1, 0.3)],
    "disalign": [{"rho": value} for value in (0.6, 0.9, 1.2)],
}
"""By method."""


def planned(params: Params, method: str, settings: dict[str, Any]) -> BundlePlan:
    """The plan of the method's bundle with these settings."""
    chosen = params.model_copy(
        update={
            "imbalances": {DIGITS_LT.name: [IMBALANCE]},
            "seeds": SEEDS,
            "methods": {**params.methods, method: {**params.methods.get(method, {}), **settings}},
        }
    )
    bundle = method if METHODS[method].stage == "represent" else f"{HEAD_FEATURES}-heads"
    return next(plan for plan in plan_bundles(DIGITS_LT, chosen) if plan.bundle == bundle)


def meta_accuracies(
    plan: BundlePlan, method: str, inputs: CellInputs, features: dict[int, Path]
) -> list[float]:
    """Percent, seed by seed."""
    found = []
    for cell in plan.cells():
        if cell.head in (None, method):
            below = features[cell.seed] if cell.head else None
            trainer = build_trainer(Job(plan, cell, fingerprint="of no use", features=below), inputs)
            trainer.run()
            found.append(100 * trainer.history.rows[-1]["meta_accuracy"])
    return found


def main() -> None:
    """Print the table and write it to `benchmarks/results/digits_settings.md`."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    params = read_params()
    plain = planned(params, HEAD_FEATURES, {})
    inputs = read_inputs(plain)
    lines = [
        "# Settings tried on digits-LT",
        "",
        f"`python -m benchmarks.digits_settings`: {described()}, one thread.",
        "",
        f"Accuracy on the meta set, percent: imbalance {IMBALANCE}, mean and values of seeds "
        f"{', '.join(map(str, SEEDS))}, weights after the last iteration. **Bold**: the preset's.",
        "",
        "| method | settings | mean | seeds |",
        "| --- | --- | --: | --- |",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        features = {cell.seed: Path(folder) / cell.name for cell in plain.cells()}
        for cell in plain.cells():
            train_cell(Job(plain, cell, fingerprint="of no use"), inputs, features[cell.seed])
        for method, choices in {HEAD_FEATURES: [{}], **TRIED}.items():
            preset = METHODS[method].resolve(method, DIGITS_LT.name, IMBALANCE, {}, params.lambda_)
            for settings in choices:
                found = meta_accuracies(planned(params, method, settings), method, inputs, features)
                text = ", ".join(f"{key} {str(value).lower()}" for key, value in settings.items())
                mark = "**" if settings and settings.items() <= preset.items() else ""
                values = " ".join(f"{value:.0f}" for value in found)
                lines.append(f"| `{method}` | {mark}{text}{mark} | {mean(found):.1f} | {values} |")
                print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
