"""The style of all figures: fonts, colour-blind safe colours, reproducible bytes."""

import csv
import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from longtail.config.layouts import NOT_PLANNED, NOT_YET, FigureLayout
from longtail.planning.plans import TablesPlan
from longtail.reporting.figures.words import FONT

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
"""Okabe and Ito's palette, darker colours first; a grey in place of its yellow."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", "--", "-.", ":")
DPI = 160
"""Of a png."""
INK, GREY = "#222222", "#666666"
STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "longtail",  # otherwise the ids in an svg are random
}


@dataclass(frozen=True)
class Drawing:
    """A figure and its numbers; the first row names the columns."""

    figure: Figure
    rows: list[list[Any]]


def canvas(panels: int, width: float, height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """An empty figure of `panels` axes side by side, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, sharey=share_y, squeeze=False)[0]
    return figure, list(axes)


def finish(figure: Figure, layout: FigureLayout, plan: TablesPlan, where: str, notes: Sequence[str]) -> None:
    """Add title and shared legend above, and below `notes` and the missing curves."""
    short = f", schedules shortened to {plan.schedule_fraction:.3g}" if plan.schedule_fraction < 1 else ""
    width = figure.get_figwidth()
    about = textwrap.fill(f"{plan.benchmark}, {where}{plan.networks_trained}{short}", int(width * 11))
    title = f"Figure {layout.number}. {layout.title}\n{about}"
    entries = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        # the title is the legend's: a figure's own title and an outside legend would lie on each other
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper left",
            ncols=max(1, int(width / 2.3)),
            title=title,
            alignment="left",
            title_fontproperties={"family": FONT, "size": 10, "weight": "bold"},
            borderaxespad=0.4,
        )
    else:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    planned = {bundle.variant for bundle in plan.bundles}
    lacking = {
        NOT_YET: [curve.label for curve in layout.curves if curve.variant is None],
        NOT_PLANNED: [curve.label for curve in layout.curves if curve.variant not in {None, *planned}],
    }
    sentences = [
        *notes,
        *(f"{why.capitalize()}: {'; '.join(labels)}." for why, labels in lacking.items() if labels),
    ]
    foot = textwrap.fill(" ".join(sentences), int(width * 16), break_long_words=False)
    figure.supxlabel(foot, x=0.01, ha="left", fontsize=7.5, color=GREY)


def seed_points(axes: Axes, x: Any, values: Any, colour: str) -> None:
    """Small points without a label: `values` [seeds, ...] at `x` [...]."""
    for seed in values:
        axes.plot(x, seed, "o", color=colour, alpha=0.5, markersize=3.5, markeredgewidth=0, zorder=2.5)


def empty(layout: FigureLayout, plan: TablesPlan, header: list[Any]) -> Drawing:
    """A figure that says that it has no curves."""
    figure, (axes,) = canvas(1, 6.0, 1.6)
    axes.set_axis_off()
    axes.text(0.5, 0.5, "none of its methods is in this plan", ha="center", va="center", color=GREY)
    finish(figure, layout, plan, "no cells", [])
    return Drawing(figure, [header])


def render(drawing: Drawing) -> dict[str, bytes]:
    """The files of a drawing by their endings, svg, png and csv; the same numbers give the same bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # `words.boxes` names them
        FigureCanvasSVG(drawing.figure).print_svg(svg, metadata={"Date": None, "Creator": None})
        drawing.figure.set_layout_engine("none")  # laid out once, which takes longer than drawing
        drawing.figure.dpi = DPI
        FigureCanvasAgg(drawing.figure).print_png(png, metadata={"Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue(), "csv": csv_text(drawing.rows).encode()}


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as csv: numbers with up to 9 digits, nothing for None and NaN."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return text.getvalue()


def cell(value: Any) -> Any:
    """One value as csv has it."""
    if value is None or value != value:  # only NaN is unequal to itself
        return ""
    return f"{float(value):.9g}" if isinstance(value, float) else value


def seeds_text(seeds: Sequence[int]) -> str:
    """`4 seeds`."""
    return f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}"
