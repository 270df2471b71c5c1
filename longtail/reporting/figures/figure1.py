"""Figure 1: accuracy against imbalance, over all, many-, medium- and few-shot classes."""

import math
from typing import Any

from matplotlib.ticker import FixedLocator, NullLocator

from longtail.config.layouts import FigureLayout
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.differences import by_seed, last_scores
from longtail.reporting.figures.drawing import (
    COLOURS,
    MARKERS,
    Drawing,
    canvas,
    empty,
    finish,
    seed_points,
    seeds_text,
)
from longtail.reporting.intervals import FEW_SEEDS, Interval
from longtail.reporting.study import Study
from longtail.reporting.tables import HEADINGS, select, summarise

PANELS = {"all": "All classes", "many": "Many-shot", "medium": "Medium-shot", "few": "Few-shot"}
HEADER = ["split", "curve", "variant", "imbalance", "mean", "low", "high", "seeds", "by_seed"]


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """One panel per shot group, one curve per variant; few seeds as points, else bars for their interval."""
    curves = [curve for curve in layout.curves if select_any(study, curve.variant)]
    if not curves:
        return empty(layout, study.plan, HEADER)
    figure, panels = canvas(len(HEADINGS), 10.0, 3.6, share_y=True)
    imbalances = sorted(study.plan.imbalances)
    span = max(math.log(imbalances[-1] / imbalances[0]), 1.0)
    rows: list[list[Any]] = [HEADER]
    few = len(study.plan.seeds) <= FEW_SEEDS
    for axes, split in zip(panels, SPLITS, strict=True):
        for index, curve in enumerate(curves):
            points, colour = [], COLOURS[index % len(COLOURS)]
            for imbalance in imbalances:
                cells = select(study.reports, curve, imbalance)
                interval = summarise(cells)[split] if cells else None
                if interval is None:
                    continue
                # side by side, so that bars at the same imbalance do not hide each other
                shift = math.exp(0.2 * span * (index / max(len(curves) - 1, 1) - 0.5))
                values = by_seed(cells, last_scores, split).values()
                points.append((imbalance * shift, interval.mean, *bar(interval)))
                ends = (interval.mean, interval.low, interval.high)
                shown = " ".join(f"{value:.9g}" for value in values)
                rows.append([split, curve.label, curve.variant, imbalance, *ends, interval.seeds, shown])
                if few and len(values) > 1:
                    seed_points(axes, [imbalance * shift], [[value] for value in values], colour)
            if points:
                x, mean, below, above = zip(*points, strict=True)
                axes.errorbar(
                    x,
                    mean,
                    yerr=None if few else (below, above),
                    color=colour,
                    marker=MARKERS[index % len(MARKERS)],
                    markersize=4.5,
                    elinewidth=1.1,
                    capsize=2,
                    label=curve.label,
                )
        axes.set_title(PANELS[split], loc="left")
        axes.set_xscale("log")
        axes.set_xlim(imbalances[0] / math.exp(0.2 * span), imbalances[-1] * math.exp(0.2 * span))
        axes.xaxis.set_major_locator(FixedLocator(imbalances))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{imbalance:g}" for imbalance in imbalances])
        axes.set_xlabel("imbalance ratio $n_{max}\\,/\\,n_{min}$")
    panels[0].set_ylabel("top-1 test accuracy (%)")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, -2), min(high, 102))
    seeds = study.plan.seeds
    what = (
        "Small points: seeds; markers: their mean"
        if few
        else "Bars: two-sided 95% Student t interval, as far as it lies within 0 to 100%"
    )
    notes = [f"{what}; curves are set apart sideways."] if len(seeds) > 1 else []
    finish(figure, layout, study.plan, seeds_text(seeds), notes)
    return Drawing(figure, rows)


def bar(interval: Interval) -> tuple[float, float]:
    """How far the bar of an interval of percentages reaches below and above its mean, within 0..100."""
    width = interval.half_width or 0.0
    return min(width, interval.mean), min(width, 100 - interval.mean)


def select_any(study: Study, variant: str | None) -> bool:
    """Whether the plan has a cell of `variant` without a retrained head."""
    return any(report.variant == variant and report.head is None for report in study.reports)
