"""Made-up benchmarks of four classes on small JPEG trees: few rows in tables, few layers in networks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.config import benchmarks
from longtail.config.benchmarks import IMAGENET_LT, PLACES_LT, Benchmark, ShotThresholds, Totals
from longtail.config.layouts import Layouts, Row, RowGroup, read_layouts
from longtail.networks import imagenet
from longtail.pipeline import plot, tabulate, track
from longtail.planning import planner
from longtail.running import programme
from tests.support.image_trees import TRAIN, write_lists

TOTALS = Totals("Four-LT", 19, 16, 8, classes=4, largest=9, smallest=2)
IMBALANCE = f"{TOTALS.imbalance:g}"
SIDE = 32
FEW_LAYERS = {
    "resnet10": ("BasicBlock", [1, 1, 1, 1]),
    "resnet50": ("Bottleneck", [1, 1, 1, 1]),
    "resnet152": ("Bottleneck", [1, 1, 1, 2]),
}
ROWS = {
    "imagenet-lt": [
        Row(label="Ours", variant="difficulty_net"),
        Row(label="BALMS", variant="difficulty_net", head="balms"),  # its batches are not known ahead
        Row(label="Ours + LAS", variant="difficulty_net", head="las"),
    ],
    "places-lt": [
        Row(label="IEM", variant=None, copied=True),
        Row(label="Ours + LAS", variant="difficulty_net", head="las"),
    ],
}


def small(benchmark: Benchmark) -> Benchmark:
    """`benchmark` on the made-up lists: a few iterations on small images."""
    short = {"batch_size": 10, "meta_batch_size": 4}
    return benchmark.model_copy(
        update={
            "totals": TOTALS,
            "classes": TOTALS.classes,
            "image_shape": (SIDE, SIDE, 3),
            "meta_per_class": 2,
            "groups": ShotThresholds(many_above=5, few_below=3),
            "represent": benchmark.represent.model_copy(update={"iterations": 2, **short}),
            "retrain": benchmark.retrain.model_copy(update={"iterations": 2, **short}),
        }
    )


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ImageNet-LT and Places-LT be the small ones."""
    for benchmark in (IMAGENET_LT, PLACES_LT):
        monkeypatch.setitem(benchmarks.BENCHMARKS, benchmark.name, small(benchmark))
    for name, shape in FEW_LAYERS.items():
        monkeypatch.setitem(imagenet.STAGES, name, shape)
    found = read_layouts()
    tables = [
        table.model_copy(update={"groups": [RowGroup(name="rows", rows=ROWS[table.benchmarks[0]])]})
        for table in found.tables
        if table.benchmarks[0] in ROWS
    ]
    made = Layouts(tables=tables, figures=found.figures)
    for reader in (planner, programme, tabulate, plot, track):
        monkeypatch.setattr(reader, "read_layouts", lambda: made)


def write_tree(root: Path) -> None:
    """Lists in `root`/lists and images of different sizes in `root`/images; some are grey."""
    (root / "lists").mkdir(parents=True)
    write_lists(root / "lists")
    draws = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        path = (root / "lists" / f"{part}.txt").rename(root / "lists" / TOTALS.list_name(part))
        for line in path.read_text().splitlines():
            image, label = line.rsplit(" ", 1)
            file = root / "images" / image
            file.parent.mkdir(parents=True, exist_ok=True)
            size = (40 + int(draws.integers(30)), 40 + int(draws.integers(30)))
            pixels = draws.integers(0, 120, (*size, 3)) + 30 * int(label)
            made = Image.fromarray(pixels.astype(np.uint8))
            (made.convert("L") if draws.random() < 0.2 else made).save(file, "JPEG")


def params_text(name: str, more: str = "") -> str:
    """A params.yaml for the tree beside it."""
    return (
        f"lambda: 0.3\nimbalances: {{{name}: [{IMBALANCE}]}}\nseeds: [1]\n"
        f"images: {{{name}: images}}\nlists: {{{name}: lists}}\n{more}"
    )


COUNTS = sorted(TRAIN.values(), reverse=True)
