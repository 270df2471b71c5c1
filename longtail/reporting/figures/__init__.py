"""Figures 1-4: each drawn from a `Study`, with the numbers behind it."""

import matplotlib as mpl

from longtail.config.layouts import FigureLayout
from longtail.errors import InputError
from longtail.reporting.figures import figure1, figure2, figure3, figure4
from longtail.reporting.figures.drawing import STYLE, Drawing, render
from longtail.reporting.figures.words import fonts_for
from longtail.reporting.study import Course, Study, read_course

__all__ = ["Course", "Drawing", "Study", "draw", "read_course", "render"]

DRAW = {1: figure1.draw, 2: figure2.draw, 3: figure3.draw, 4: figure4.draw}
"""By their numbers in the paper."""


def draw(layout: FigureLayout, study: Study) -> Drawing:
    """The figure that `layout` describes. Raises InputError on an unknown number."""
    if layout.number not in DRAW:
        raise InputError(
            f"figure {layout.number}", "nothing draws it", f"the paper has {', '.join(map(str, DRAW))}"
        )
    with mpl.rc_context({**STYLE, "font.family": fonts_for(study.class_names)}):
        return DRAW[layout.number](layout, study)
