"""A folder like the one that trainings leave, with made-up but seeded predictions and histories."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params
from longtail.data.manifests import set_digest
from longtail.data.profiles import exponential_profile
from longtail.files import write_json
from longtail.pipeline import paths
from longtail.planning.fingerprints import recipe
from longtail.planning.planner import plan_bundles, plan_evaluations, plan_tables
from longtail.planning.plans import BundlePlan, Cell, TablesPlan, read_tables_plan, write_plan
from longtail.reporting.reports import CellReport, read_reports
from longtail.running.cell_folders import sums
from longtail.training.histories import History
from tests.support.stage_runs import run_stages

BENCHMARK = DIGITS_LT.name
CLASSES = 10
EPOCHS = 12
SET_SIZES = {"train": 314, "meta": 100, "test": 500}
TEST_HASHES = [f"{index:064x}" for index in range(SET_SIZES["test"])]


def params(
    imbalances: tuple[float, ...] = (50, 10), seeds: tuple[int, ...] = (1, 2, 3), **more: Any
) -> Params:
    """Parameters as `params.yaml` would give them."""
    return Params.model_validate(
        {"lambda": 0.3, "imbalances": {BENCHMARK: list(imbalances)}, "seeds": list(seeds), **more}
    )


def counts(imbalance: float) -> list[int]:
    """Training images per class."""
    return exponential_profile(114, imbalance, CLASSES)


def fingerprint(cell: Cell) -> str:
    """A made-up training, the same for the same cell."""
    return hashlib.sha256(cell.name.encode()).hexdigest()


def generator(cell: Cell) -> np.random.Generator:
    """Random numbers that belong to `cell`."""
    return np.random.default_rng(list(cell.name.encode()))


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, Any]) -> None:
    """A parquet file with the project's own metadata."""
    table = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({b"longtail": json.dumps(metadata).encode()}), path)


def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Rows of a matrix as lists."""
    return pa.array(list(values), type=pa.list_(kind))


def write_predictions(path: Path, cell: Cell) -> None:
    """Logits that favour the true class, less so in smaller classes."""
    rng = generator(cell)
    labels = np.repeat(np.arange(CLASSES), SET_SIZES["test"] // CLASSES)
    skill = np.log(np.array(counts(cell.imbalance)))[labels] * (
        0.6 if cell.variant == "cross_entropy" else 0.8
    )
    columns: dict[str, Any] = {"image": pa.array(np.arange(len(labels))), "label": pa.array(labels)}
    columns["hash"] = pa.array(TEST_HASHES)
    for name in ("logits", "logits_selected"):
        logits = rng.normal(size=(len(labels), CLASSES))
        logits[np.arange(len(labels)), labels] += skill
        columns[name] = lists(logits, pa.float32())
    write_parquet(path, columns, {"fingerprint": fingerprint(cell), "cell": cell.name})


def write_history(path: Path, cell: Cell) -> None:
    """Accuracies that rise, difficulties that fall together, their weights and entropy."""
    rng = generator(cell)
    rows = EPOCHS + 1
    epoch = np.arange(rows)
    size = np.log(np.array(counts(cell.imbalance)))
    level = size / size.max()
    accuracy = np.clip((1 - np.exp(-epoch / 4))[:, None] * level + rng.normal(0, 0.02, (rows, CLASSES)), 0, 1)
    slope = 0.0 if cell.variant.endswith("lambda_0") else 0.4
    difficulty = 0.5 + slope * np.exp(-epoch / 6)[:, None] * (0.6 - level) * (epoch > 0)[:, None]
    difficulty = difficulty + (epoch > 0)[:, None] * rng.normal(0, 0.004, (rows, CLASSES))
    share = difficulty / difficulty.sum(axis=1, keepdims=True)
    weighted = cell.head is None and cell.variant.startswith(("difficulty_net", "cdb_ce"))
    entropy = -np.log(CLASSES * share).mean(axis=1)
    history = History()
    for row in range(rows):
        learned = {"difficulty": difficulty[row].tolist(), "weight": (CLASSES * share[row]).tolist()}
        history.add(
            epoch=row,
            iteration=row * 25,
            lr=0.1,
            train_loss=2.3 * float(np.exp(-row / 5) + rng.normal(0, 0.01)) if row else float("nan"),
            meta_accuracy=float(accuracy[row].mean()),
            accuracy=accuracy[row].tolist(),
            **({**learned, "entropy": float(entropy[row])} if weighted else {}),
        )
    history.write(path, {"fingerprint": fingerprint(cell), "cell": cell.name})


def write_model(folder: Path, plan: BundlePlan, cell: Cell) -> None:
    """One trained cell, without its weights."""
    training = plan.heads[cell.head].training if cell.head else plan.training
    record = {
        "cell": cell.name,
        "fingerprint": fingerprint(cell),
        "benchmark": cell.benchmark,
        "imbalance": cell.imbalance,
        "variant": cell.variant,
        "recipe": recipe(plan, cell),
        "method": plan.method,
        "head": cell.head,
        "seed": cell.seed,
        "settings": plan.heads[cell.head].settings if cell.head else plan.settings,
        "training": training.model_dump(mode="json"),
        "network": plan.network,
        "counts": counts(cell.imbalance),
        "class_names": [str(index) for index in range(CLASSES)],
        "disjoint": {
            **{name: {"images": size, "sha256": "3" * 64} for name, size in SET_SIZES.items()},
            "test": {"images": SET_SIZES["test"], "sha256": set_digest(TEST_HASHES)},
            "shared": 0,
        },
        "manifests": {"train": "0" * 64, "meta": "1" * 64, "pool": "2" * 64},
        "parameters": 1234,
        "image_shape": [8, 8, 1],
        "mean": [0.5],
        "std": [0.5],
        "iterations": training.iterations,
        "device": "cpu",
        "versions": {"torch": "0"},
        "selected_iteration": 100,
    }
    write_predictions(folder / "predictions.parquet", cell)
    write_history(folder / "history.parquet", cell)
    write_json(folder / "cell.json", {**record, "files": sums(folder)})
    write_json(folder / "timing.json", {"seconds": 1.5})


def fail(folder: Path, bundle: str, member: str, reason: str, imbalance: float = 50) -> None:
    """In the place of a trained cell that which a failed training leaves."""
    model = folder / paths.model(BENCHMARK, imbalance, bundle, member)
    cell = json.loads((model / "cell.json").read_text())
    shutil.rmtree(model)
    names = {name: cell[name] for name in ("cell", "fingerprint", "network", "variant", "recipe")}
    write_json(model / "failed.json", {**names, "reason": reason, "iteration": 57})


SOME = (
    "balanced_softmax",
    "cdb_ce",
    "cross_entropy",
    "cross_entropy-heads",
    "difficulty_net",
    "difficulty_net-heads",
    "difficulty_net_absolute",
    "difficulty_net_balanced_softmax",
    "difficulty_net_lambda_0",
    "difficulty_net_lambda_0.3",
    "difficulty_net_lambda_0.6",
    "difficulty_net_lambda_0.9",
    "difficulty_net_lambda_1",
)
"""Bundles that fill a part of every table and figure; all of them would take their time."""


def build(folder: Path, chosen: Params | None = None, variants: tuple[str, ...] = ()) -> list[BundlePlan]:
    """Write the plans and models of `chosen`, of all bundles or those called `variants`, under `folder`."""
    chosen = chosen or params()
    plans = [plan for plan in plan_bundles(DIGITS_LT, chosen) if not variants or plan.bundle in variants]
    write_plan(folder / paths.tables_plan(BENCHMARK), plan_tables(DIGITS_LT, chosen, plans))
    for evaluation in plan_evaluations(DIGITS_LT, chosen, plans):
        write_plan(folder / paths.evaluation_plan(BENCHMARK, evaluation.imbalance), evaluation)
    for plan in plans:
        write_plan(folder / paths.plan(BENCHMARK, plan.imbalance, plan.bundle), plan)
        for cell in plan.cells():
            model = folder / paths.model(BENCHMARK, plan.imbalance, plan.bundle, cell.member)
            write_model(model, plan, cell)
    return plans


def evaluate(folder: Path, plans: list[BundlePlan]) -> None:
    """Run the stage at every imbalance of `plans`. Raises RuntimeError where it fails."""
    for imbalance in dict.fromkeys(plan.imbalance for plan in plans):
        run_stages(folder, f"evaluate {imbalance:g}")


def read(folder: Path) -> tuple[TablesPlan, list[CellReport]]:
    """Plan and reports of what `build` and `evaluate` left; none failed."""
    plan = read_tables_plan(folder / paths.tables_plan(BENCHMARK))
    reports, failures = read_reports(
        plan,
        lambda *cell: folder / paths.cell_report(BENCHMARK, *cell),
        lambda *cell: folder / paths.model(BENCHMARK, *cell),
    )
    assert failures == []
    return plan, reports
