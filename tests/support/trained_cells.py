"""Cells of a few iterations on the real digits, in the folders where the pipeline puts them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.presets import VARIANTS
from longtail.data.manifests import draw_meta, draw_train
from longtail.data.pools import draw_pool
from longtail.data.sources import SOURCES, Source
from longtail.pipeline import paths
from longtail.planning.plans import BundlePlan, Cell, Head
from longtail.running.cell_folders import read_cell, write_cell_record
from longtail.running.cells import train_cell
from longtail.running.jobs import CellInputs, Job

IMBALANCE = 50.0
COUNTS = [114, 73, 47, 30, 20, 12, 8, 5, 3, 2]


@cache
def digits() -> Source:
    """All 1,797 digits."""
    return SOURCES["digits"].read(None, Path(), lambda count: None)


@cache
def inputs() -> CellInputs:
    """digits-LT at imbalance 50."""
    pool = draw_pool(digits(), benchmark="digits-lt", data_seed=0, test_per_class=50)
    train, meta = draw_train(pool, IMBALANCE, COUNTS, 10), draw_meta(pool, IMBALANCE, 10)
    return CellInputs(pool=pool, images=digits().images, train=train, meta=meta)


def unseen_images() -> np.ndarray:
    """uint8 [500, 8, 8, 1], in the order of predictions.parquet."""
    images = inputs().images
    assert isinstance(images, np.ndarray)
    return images[inputs().pool.image[inputs().pool.rows("test")]]


def train(
    root: Path,
    variant: str,
    head: str | None = None,
    network: str = "digits_resnet",
    iterations: int = 30,
    head_settings: dict[str, Any] | None = None,
    images: CellInputs | None = None,
) -> Path:
    """Train `variant`, or `head` on its features, seed 1; the folder of the cell below `root`/models.

    `images`: other ones than `inputs`.
    """
    names = [name for name in (variant, head) if name]
    settings = {name: VARIANTS[name].resolve(name, "digits-lt", 50, {}, 0.3) for name in names}
    if head:
        settings[head] |= head_settings or {}
    represent, retrain = (
        training.model_copy(update={"iterations": iterations})
        for training in (DIGITS_LT.represent, DIGITS_LT.retrain)
    )
    if head:
        retrain = retrain.model_copy(update=dict(VARIANTS[head].training))
    plan = BundlePlan(
        benchmark="digits-lt",
        imbalance=IMBALANCE,
        bundle=f"{variant}-heads" if head else variant,
        stage="retrain" if head else "represent",
        variant=variant,
        method=VARIANTS[variant].name,
        settings=settings[variant],
        network=network,
        mean=DIGITS_LT.mean,
        std=DIGITS_LT.std,
        training=represent,
        code={},
        heads={head: Head(settings=settings[head], training=retrain, code={})} if head else {},
        seeds=[1],
    )
    cell = Cell("digits-lt", IMBALANCE, plan.bundle, variant, head, 1)
    folder = root / paths.model("digits-lt", IMBALANCE, plan.bundle, cell.member)
    features = root / paths.model("digits-lt", IMBALANCE, variant, "seed1") if head else None
    train_cell(Job(plan, cell, f"{cell.name:_<64}", features=features), images or inputs(), folder)
    write_cell_record(folder, read_cell(folder).model_copy(update={"cell": cell.name, "variant": variant}))
    return folder
