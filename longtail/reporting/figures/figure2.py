"""Figure 2: the difficulty predicted for each class, classes sorted by increasing accuracy."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from longtail.config.layouts import FigureLayout
from longtail.reporting.figures.drawing import (
    COLOURS,
    DASHES,
    INK,
    Drawing,
    canvas,
    empty,
    finish,
    seed_points,
    seeds_text,
)
from longtail.reporting.figures.words import literal
from longtail.reporting.intervals import FEW_SEEDS
from longtail.reporting.study import Array, Study, stacked

HEADER = ["curve", "rank", "class", "class_name", "images", "mean", "low", "high", "min_max", "seeds"]
FEW_CLASSES = 20
"""Up to so many classes are named under the axis."""
LONGEST = 20
"""Characters of such a name; figure2.csv has it whole."""


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """Left a_c and d_c as they are, right each stretched to 0..1; both at the end of training.

    The accuracy is the one that the difficulties of the layout's last curve were predicted from; the order
    of classes is that of its mean over seeds.
    """
    curves = [(curve, cells) for curve in layout.curves if (cells := study.cells(curve))]
    if not curves:
        return empty(layout, study.plan, HEADER)
    last, cells = curves[-1]
    values = [(f"accuracy a_c ({last.label})", stacked(cells, "accuracy")[:, -1])]
    values += [
        (f"difficulty d_c ({curve.label})", stacked(found, "difficulty")[:, -1]) for curve, found in curves
    ]
    order = np.argsort(values[0][1].mean(axis=0), kind="stable")
    report = cells[0].report
    figure, panels = canvas(2, 9.0, 3.8)
    rows: list[list[Any]] = [HEADER]
    ranks = np.arange(len(order))
    colours = (INK, *COLOURS)
    spans = []
    for index, (label, found) in enumerate(values):
        ordered = found[:, order]
        mean, low, high = ordered.mean(axis=0), ordered.min(axis=0), ordered.max(axis=0)
        stretched = min_max(mean)
        shown = label.replace("lambda", "λ").replace("a_c", "$a_c$").replace("d_c", "$d_c$")
        colour, dash = colours[index % len(colours)], DASHES[index % len(DASHES)]
        few = len(order) <= FEW_CLASSES
        for axes, curve in zip(panels, (mean, stretched), strict=True):
            axes.plot(
                ranks, curve, color=colour, linestyle=dash, label=shown, marker="o" if few else None, ms=3
            )
        if 1 < len(ordered) <= FEW_SEEDS:
            seed_points(panels[0], ranks, ordered, colour)
        elif len(ordered) > 1:
            panels[0].fill_between(ranks, low, high, color=colour, alpha=0.15, linewidth=0)
        spans.append(f"{shown}: {float(np.ptp(mean)):.2g}")
        for rank, number in enumerate(order):
            names = [label, rank, int(number), report.class_names[number], report.counts[number]]
            numbers = [float(curve[rank]) for curve in (mean, low, high, stretched)]
            rows.append([*names, *numbers, len(ordered)])
    panels[0].set_title("as they are", loc="left")
    panels[0].set_ylabel("accuracy $a_c$, difficulty $d_c$")
    panels[1].set_title("each curve stretched to 0–1", loc="left")
    panels[1].set_ylabel("min-max scaled")
    for axes in panels:
        axes.set_xlabel("class, by increasing accuracy")
        name_classes(axes, [report.class_names[number] for number in order])
    notes = [
        "After the last epoch, accuracies on the meta set.",
        f"Highest minus lowest mean, which the right panel stretches: {', '.join(spans)}.",
    ]
    if len(cells) > 1:
        each = "small points: seeds" if len(cells) <= FEW_SEEDS else "bands: lowest to highest seed"
        notes.insert(1, f"Lines: mean over seeds; {each}.")
    where = f"imbalance {study.imbalance:g}, {seeds_text([c.report.seed for c in cells])}"
    finish(figure, layout, study.plan, where, notes)
    return Drawing(figure, rows)


def min_max(values: Array) -> Array:
    """`values` shifted and scaled to 0..1; equal ones become 0."""
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def name_classes(axes: Axes, names: list[str]) -> None:
    """Class names under the axis where there are few of them, ranks otherwise."""
    if len(names) > FEW_CLASSES:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    long = max(map(len, names)) > 3
    labels = [literal(name, LONGEST) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=45 if long else 0, ha="right" if long else "center")
