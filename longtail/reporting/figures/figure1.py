"""Figure 1: accuracy against imbalance, over all, many-, medium- and few-shot classes."""

import math
from typing import Any

from matplotlib.ticker import FixedLocator, NullLocator

from longtail.config.layouts import FigureLayout
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.figures.drawing import COLOURS, MARKERS, Drawing, canvas, empty, finish, seeds_text
from longtail.reporting.study import Study
from longtail.reporting.tables import HEADINGS, select, summarise

PANELS = {"all": "All classes", "many": "Many-shot", "medium": "Medium-shot", "few": "Few-shot"}
HEADER = ["split", "curve", "variant", "imbalance", "mean", "low", "high", "seeds"]


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """One panel per shot group, one curve per variant, bars for the interval over seeds."""
    curves = [curve for curve in layout.curves if select_any(study, curve.variant)]
    if not curves:
        return empty(layout, study.plan, HEADER)
    figure, panels = canvas(len(HEADINGS), 10.0, 3.6, share_y=True)
    imbalances = sorted(study.plan.imbalances)
    span = max(math.log(imbalances[-1] / imbalances[0]), 1.0)
    rows: list[list[Any]] = [HEADER]
    for axes, split in zip(panels, SPLITS, strict=True):
        for index, curve in enumerate(curves):
            points = []
            for imbalance in imbalances:
                cells = select(study.reports, curve, imbalance)
                interval = summarise(cells)[split] if cells else None
                if interval is None:
                    continue
                # side by side, so that bars at the same imbalance do not hide each other
                shift = math.exp(0.2 * span * (index / max(len(curves) - 1, 1) - 0.5))
                points.append((imbalance * shift, interval.mean, interval.half_width or 0.0))
                ends = (interval.mean, interval.low, interval.high)
                rows.append([split, curve.label, curve.variant, imbalance, *ends, interval.seeds])
            if points:
                x, mean, half_width = zip(*points, strict=True)
                axes.errorbar(
                    x,
                    mean,
                    yerr=half_width if any(half_width) else None,
                    color=COLOURS[index % len(COLOURS)],
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
    panels[0].set_ylim(max(low, -2), min(high, 102))  # an interval may end beyond 0 or 100 %
    seeds = study.plan.seeds
    note = "Bars: two-sided 95% Student t interval; points are set apart sideways." if len(seeds) > 1 else ""
    finish(figure, layout, study.plan, seeds_text(seeds), [note] if note else [])
    return Drawing(figure, rows)


def select_any(study: Study, variant: str | None) -> bool:
    """Whether the plan has a cell of `variant` without a retrained head."""
    return any(report.variant == variant and report.head is None for report in study.reports)
