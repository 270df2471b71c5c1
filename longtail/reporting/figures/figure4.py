"""Figure 4: normalised weights of one many-, one medium- and one few-shot class during training."""

from typing import Any

import numpy as np

from longtail.config.layouts import FigureLayout
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.figures.drawing import (
    COLOURS,
    DASHES,
    GREY,
    Drawing,
    canvas,
    empty,
    finish,
    seeds_text,
)
from longtail.reporting.figures.words import literal
from longtail.reporting.reports import CellReport
from longtail.reporting.study import Array, Study, stacked

HEADER = [
    "curve",
    "variant",
    "seed",
    "group",
    "class",
    "class_name",
    "images",
    "iteration",
    "weight",
    "mean_absolute_change",
]

LONGEST = 20
"""Characters of a class name in the legend; figure4.csv has it whole."""


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """One panel per method: the first seed's weights in full, the other seeds' thin behind it."""
    curves = [(curve, cells) for curve in layout.curves if (cells := study.cells(curve))]
    if not curves:
        return empty(layout, study.plan, HEADER)
    figure, panels = canvas(len(curves), 2.4 + 4.8 * len(curves), 4.0)
    rows: list[list[Any]] = [HEADER]
    changes = []
    for axes, (curve, cells) in zip(panels, curves, strict=True):
        weights, iteration = stacked(cells, "weight"), cells[0].iteration
        report = cells[0].report
        chosen = middle_classes(report)
        axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
        per_group = []
        for index, (group, number) in enumerate(chosen.items()):
            name = literal(report.class_names[number], LONGEST)
            label = f"{group}-shot: class {name} (n = {report.counts[number]})"
            colour = COLOURS[index]
            for later, seed in reversed(list(enumerate(weights[:, :, number]))):
                if later:
                    axes.plot(iteration, seed, color=colour, alpha=0.3, linewidth=0.8)
                else:
                    axes.plot(iteration, seed, color=colour, linestyle=DASHES[index], label=label)
            change = [mean_absolute_change(seed) for seed in weights[:, :, number]]
            per_group.append(f"{group} {float(np.mean(change)):.2g}")
            names = [group, number, report.class_names[number], report.counts[number]]
            for cell, seed, its_change in zip(cells, weights[:, :, number], change, strict=True):
                rows += [
                    [
                        curve.label,
                        curve.variant,
                        cell.report.seed,
                        *names,
                        int(step),
                        float(value),
                        its_change,
                    ]
                    for step, value in zip(iteration, seed, strict=True)
                ]
        changes.append(f"{curve.label}: {', '.join(per_group)}")
        axes.set_title(curve.label, loc="left")
        axes.set_xlim(left=0)
        axes.set_xlabel("training iterations")
        axes.set_ylabel("normalised weight")
    seeds = [cell.report.seed for cell in curves[0][1]]
    notes = [
        "Weights have mean 1 over classes; shown is the middle class of each shot group.",
        f"Mean absolute change from epoch to epoch, mean over seeds: {'; '.join(changes)}.",
    ]
    if len(seeds) > 1:
        notes.insert(1, f"Strong lines: seed {seeds[0]}; thin ones: the other seeds.")
    finish(figure, layout, study.plan, f"imbalance {study.imbalance:g}, {seeds_text(seeds)}", notes)
    return Drawing(figure, rows)


def middle_classes(report: CellReport) -> dict[str, int]:
    """The class in the middle of each shot group that has one, by training images; of two, the larger."""
    chosen = {}
    for group in SPLITS[1:]:
        members = report.groups.members[group]
        ordered = sorted(members, key=lambda number: (-report.counts[number], number))
        if ordered:
            chosen[group] = ordered[(len(ordered) - 1) // 2]
    return chosen


def mean_absolute_change(weights: Array) -> float:
    """Mean over epochs of |w(e+1) - w(e)|, from [E]."""
    return float(np.abs(np.diff(weights)).mean()) if len(weights) > 1 else 0.0
