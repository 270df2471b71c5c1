"""Figure 3: entropy of the predicted difficulties during training."""

from typing import Any

from longtail.config.layouts import FigureLayout
from longtail.reporting.figures.drawing import (
    COLOURS,
    DASHES,
    Drawing,
    canvas,
    empty,
    finish,
    seed_points,
    seeds_text,
)
from longtail.reporting.intervals import FEW_SEEDS
from longtail.reporting.study import Study, stacked

HEADER = ["curve", "variant", "imbalance", "iteration", "mean", "low", "high", "seeds"]
ROUNDING = 1e-12
"""Below it an entropy is 0: all difficulties are equal, which a log axis cannot show."""


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """E = -(1/C) sum_c log(C q_c), q = d / sum d (Section 4.6), on a log axis against iterations."""
    curves = [(curve, cells) for curve in layout.curves if (cells := study.cells(curve))]
    if not curves:
        return empty(layout, study.plan, HEADER)
    figure, (axes,) = canvas(1, 6.4, 3.8)
    rows: list[list[Any]] = [HEADER]
    hidden = False
    for index, (curve, cells) in enumerate(curves):
        entropy = stacked(cells, "entropy")
        iteration = cells[0].iteration
        mean, low, high = entropy.mean(axis=0), entropy.min(axis=0), entropy.max(axis=0)
        visible = low > ROUNDING
        hidden = hidden or not visible.all()
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            iteration[visible],
            mean[visible],
            color=colour,
            linestyle=DASHES[index % len(DASHES)],
            marker="o",
            ms=3,
            label=curve.label,
        )
        if 1 < len(cells) <= FEW_SEEDS:
            seed_points(axes, iteration[visible], entropy[:, visible], colour)
        elif len(cells) > 1:
            axes.fill_between(
                iteration[visible], low[visible], high[visible], color=colour, alpha=0.18, linewidth=0
            )
        for step, *numbers in zip(iteration.tolist(), mean, low, high, strict=True):
            rows.append([curve.label, curve.variant, study.imbalance, step, *map(float, numbers), len(cells)])
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel("training iterations")
    axes.set_ylabel("entropy $E$ of the difficulties (nats)")
    cells = curves[0][1]
    notes = ["E = −(1/C) Σ log(C q_c) with q = d / Σ d; 0 when all difficulties are equal."]
    if hidden:
        notes.append("Points of E = 0, as before training, lie off the log axis.")
    if len(cells) > 1:
        each = "small points: seeds" if len(cells) <= FEW_SEEDS else "band: lowest to highest seed"
        notes.append(f"Line: mean over seeds; {each}.")
    where = f"imbalance {study.imbalance:g}, {seeds_text([c.report.seed for c in cells])}"
    finish(figure, layout, study.plan, where, notes)
    return Drawing(figure, rows)
