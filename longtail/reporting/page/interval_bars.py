"""Small drawings of differences with their intervals, beside a claim and its comparisons."""

from collections.abc import Sequence

from markupsafe import Markup

from longtail.reporting.comparisons import Judgement

WIDTH, EDGE = 160, 4
"""In units of the drawing, as is the height of a line."""


def reach(judged: Sequence[Judgement], limit: float) -> float:
    """The largest distance from 0 of what is drawn of `judged`, at most `limit`; 1 if all are 0."""
    ends = [abs(end) for one in judged for end in drawn(one, limit)]
    return max(ends, default=0.0) or 1.0


def drawn(judged: Judgement, limit: float) -> tuple[float, float, float]:
    """Low end, mean and high end of a difference, within ±`limit`, which no difference can leave."""
    found = judged.interval
    half = found.half_width or 0.0
    return max(found.mean - half, -limit), found.mean, min(found.mean + half, limit)


def interval_bars(judged: Sequence[Judgement], far: float, limit: float, height: float) -> Markup:
    """An svg of `judged`, one below the other, with 0 in the middle and ±`far` at the edges.

    Each is a dot on its interval, in the colour of its word.
    """

    def x(value: float) -> str:
        return f"{WIDTH / 2 + (WIDTH / 2 - EDGE) * value / far:.1f}"

    room = height / len(judged) if judged else height
    radius, stroke = f"{min(3.5, max(1.5, room / 3)):.1f}", f"{min(1.5, room / 2):.2g}"
    shapes = [f'<path class="zero" stroke-width="0.7" d="M{WIDTH / 2:g} 0V{height:g}"/>']
    for index, one in enumerate(judged):
        y = f"{room * (index + 0.5):.1f}"
        low, mean, high = map(x, drawn(one, limit))
        dot = f'<circle cx="{mean}" cy="{y}" r="{radius}"/>'
        shapes.append(f'<g class="{one.word}"><path stroke-width="{stroke}" d="M{low} {y}H{high}"/>{dot}</g>')
    return Markup(
        f'<svg class="interval" viewBox="0 0 {WIDTH} {height:g}" aria-hidden="true">{"".join(shapes)}</svg>'
    )
