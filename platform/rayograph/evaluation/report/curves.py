"""Line charts as inline SVG: drawn once, without a script, in the colours of the page around them.

Lines and letters take `currentColor`; series take the page's `--series-N`, and dashes tell them apart in print.
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from rayograph.evaluation.report.axes import Axis, short, spanning

POSITION = "images_seen"
LEFT, RIGHT, BOTTOM = 46.0, 18.0, 36.0  # margins, pixels; the top one depends on the legend
LEGEND_LINE = 18
STROKES = (  # a colour for pages that define none, and dashes
    ("#b5352a", ""),
    ("#3d6f8e", "6 2.5"),
    ("#8a7420", "1.5 2.5"),
    ("#5f7f52", "9 2.5 2 2.5"),
    ("#7d5a8c", "3 3"),
    ("#8a6a55", "12 3"),
)

Point = tuple[float, float]


def line_chart(
    rows: Sequence[Mapping[str, object]],
    series: Mapping[str, str],
    *,
    title: str,
    logarithmic: bool = False,
    width: int = 420,
    height: int = 220,
) -> str:
    """Values over `images_seen`. `series` maps names in the rows to what the legend says.

    Each point is the mean over a few pixels' worth of images: single steps are noise, and thousands of them weigh
    more than the page. Values that are missing, not finite, or not positive on a logarithmic axis are passed over; a
    chart without any is an empty string.
    """
    lines = {name: _points(rows, name, logarithmic) for name in series}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    legend, legend_height = _legend([series[name] for name in lines], width)
    # from 0 to the end of training, whatever is drawn, so that charts of one stage stand above each other
    last = max(seen for row in rows if isinstance(seen := row.get(POSITION), int | float))
    x = Axis(0.0, float(last) or 1.0, LEFT, width - RIGHT)
    thinned = {name: _thinned(points, x) for name, points in lines.items()}
    values = [y for points in thinned.values() for _, y in points]
    y = spanning(values, height - BOTTOM, legend_height + 8, logarithmic)
    drawn = [_line(points, x, y, number) for number, points in enumerate(thinned.values())]
    return "\n".join(
        [
            f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(title)}>',
            f"<title>{escape(title)}</title>",
            *_grid(x, y, width, height),
            *drawn,
            *legend,
            "</svg>",
        ]
    )


def _points(rows: Sequence[Mapping[str, object]], name: str, logarithmic: bool) -> list[Point]:
    points = []
    for row in rows:
        seen, value = row.get(POSITION), row.get(name)
        if not isinstance(seen, int | float) or not isinstance(value, int | float):
            continue
        if math.isfinite(value) and (value > 0 or not logarithmic):
            points.append((float(seen), float(value)))
    return sorted(points)


def _thinned(points: list[Point], x: Axis) -> list[Point]:
    """The mean point of each stretch of 2.5 pixels."""
    stretches: dict[int, list[Point]] = {}
    for point in points:
        stretches.setdefault(int((x.place(point[0]) - x.start) / 2.5), []).append(point)
    return [
        (sum(seen for seen, _ in stretch) / len(stretch), sum(value for _, value in stretch) / len(stretch))
        for stretch in stretches.values()
    ]


def _line(points: list[Point], x: Axis, y: Axis, number: int) -> str:
    colour, dashes = STROKES[number % len(STROKES)]
    style = f"stroke: var(--series-{number % len(STROKES) + 1}, {colour})"
    if len(points) == 1:  # a line of one point would not show
        seen, value = points[0]
        return f'<circle cx="{x.place(seen):.1f}" cy="{y.place(value):.1f}" r="2.5" fill="none" style="{style}"/>'
    path = " ".join(f"{x.place(seen):.1f},{y.place(value):.1f}" for seen, value in points)
    return (
        f'<polyline points="{path}" fill="none" stroke-width="1.6" stroke-linejoin="round" '
        f'stroke-dasharray="{dashes}" style="{style}"/>'
    )


def _grid(x: Axis, y: Axis, width: int, height: int) -> list[str]:
    floor = height - BOTTOM
    parts = [_level(floor, width, opacity=0.6)]
    for tick in y.ticks():
        place = y.place(tick)
        parts += [_level(place, width, opacity=0.14), _text(LEFT - 6, place + 3.5, short(tick), "end")]
    for tick in x.ticks():
        parts.append(_text(x.place(tick), floor + 14, short(tick), "middle"))
    parts.append(_text((LEFT + width - RIGHT) / 2, height - 4.0, "images seen", "middle"))
    return parts


def _level(y: float, width: int, opacity: float) -> str:
    return (
        f'<line x1="{LEFT:g}" x2="{width - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
        f'stroke-opacity="{opacity}"/>'
    )


def _legend(labels: list[str], width: int) -> tuple[list[str], float]:
    """Swatch and name of every series, in as many lines as they need; and the height they take."""
    parts: list[str] = []
    left, middle = LEFT, 10.0
    for number, label in enumerate(labels):
        room = 26 + 6.4 * len(label) + 12  # letters of 11 pixels are about 6.4 wide
        if left > LEFT and left + room > width - RIGHT:
            left, middle = LEFT, middle + LEGEND_LINE
        colour, dashes = STROKES[number % len(STROKES)]
        parts.append(
            f'<line x1="{left:.1f}" x2="{left + 20:.1f}" y1="{middle:g}" y2="{middle:g}" stroke-width="2" '
            f'stroke-dasharray="{dashes}" style="stroke: var(--series-{number % len(STROKES) + 1}, {colour})"/>'
            + _text(left + 26, middle + 4, label, "start")
        )
        left += room
    return parts, middle + LEGEND_LINE / 2


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="currentColor" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
