"""Panels of curves as one SVG, for the pages of the experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from charter.records import write_text
from charter.report.charts import axis_number, tag, ticks

COLOURS = ("#1668b8", "#b3541e", "#3a7d44", "#7b4fa3", "#c2185b", "#6b6b6b", "#00838f", "#9e7b00")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360.0, 300.0, 46.0, 14.0, 30.0, 216.0

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """A curve: through its points in order, or only their marks.

    band: half-widths of intervals, one per point.
    """

    name: str
    points: Points
    colour: int = 0
    dashed: bool = False
    marks: bool = False
    line: bool = True
    band: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes. Series of the same name and colour share an entry of the legend."""

    title: str
    across: str
    up: str
    series: Sequence[Series]
    lowest: float | None = None


def draw(file: Path, panels: Sequence[Panel], label: str) -> None:
    """Write the panels side by side, three to a row."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    parts = [
        tag("g", _panel(panel), transform=f"translate({(i % columns) * WIDTH:g} {(i // columns) * HEIGHT:g})")
        for i, panel in enumerate(panels)
    ]
    drawing = tag(
        "svg",
        tag("rect", width="100%", height="100%", fill="#fff") + Markup("").join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH * columns:g} {HEIGHT * rows:g}",
        font_family="sans-serif",
        font_size="11",
        role="img",
        aria_label=label,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, f"{drawing}\n")


def _panel(panel: Panel) -> Markup:
    points = [point for one in panel.series for point in one.points]
    if not points:
        return _text(WIDTH / 2, 16, panel.title, weight="bold")
    x_low, x_high = _range([x for x, _ in points])
    y_low, y_high = _range([y for _, y in points], panel.lowest)

    def x_of(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - x_low) / (x_high - x_low)

    def y_of(y: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (max(y, y_low) - y_low) / (y_high - y_low)

    parts = [_text(WIDTH / 2, 14, panel.title, weight="bold")]
    for mark in ticks(y_low, y_high):
        if y_low <= mark <= y_high:
            parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y_of(mark), y2=y_of(mark), stroke="#e4e4e4"))
            parts.append(_text(LEFT - 5, y_of(mark) + 4, axis_number(mark), "end", "#555"))
    for mark in ticks(x_low, x_high):
        if x_low <= mark <= x_high:
            parts.append(_text(x_of(mark), BOTTOM + 14, axis_number(mark), fill="#555"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, BOTTOM + 29, panel.across, fill="#333"))
    parts.append(
        tag("text", panel.up, x=12, y=(TOP + BOTTOM) / 2, text_anchor="middle", fill="#333",
            transform=f"rotate(-90 12 {(TOP + BOTTOM) / 2:g})")
    )  # fmt: skip
    for one in panel.series:
        parts += _curve(one, [(x_of(x), y_of(y)) for x, y in one.points], [y_of(0) - y_of(half) for half in one.band])
    return Markup("").join([*parts, *_legend(panel.series)])


def _curve(one: Series, places: Points, halves: Sequence[float]) -> list[Markup]:
    colour = COLOURS[one.colour % len(COLOURS)]
    parts = [
        tag("line", x1=x, x2=x, y1=y - half, y2=y + half, stroke=colour, stroke_opacity=0.45)
        for (x, y), half in zip(places, halves, strict=False)
    ]
    if one.line and len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = {"stroke_dasharray": "5 4"} if one.dashed else {}
        parts.append(tag("polyline", points=path, fill="none", stroke=colour, stroke_width=1.6, **dash))
    if one.marks:
        parts += [tag("circle", cx=x, cy=y, r=2.2, fill=colour, fill_opacity=0.7) for x, y in places]
    return parts


def _legend(series: Sequence[Series]) -> list[Markup]:
    parts = []
    known = list({(one.name, one.colour, one.dashed): one for one in series if one.name}.values())
    for place, one in enumerate(known):
        x, y = LEFT + (place % 2) * 155, BOTTOM + 46 + 14 * (place // 2)
        colour = COLOURS[one.colour % len(COLOURS)]
        dash = {"stroke_dasharray": "5 4"} if one.dashed else {}
        if one.line:
            parts.append(tag("line", x1=x, x2=x + 18, y1=y - 4, y2=y - 4, stroke=colour, stroke_width=2, **dash))
        else:
            parts.append(tag("circle", cx=x + 9, cy=y - 4, r=3, fill=colour))
        parts.append(_text(x + 23, y, one.name, "start"))
    return parts


def _range(values: Sequence[float], lowest: float | None = None) -> tuple[float, float]:
    low, high = min(values) if lowest is None else lowest, max(values)
    spare = 0.04 * (high - low) or 0.5
    return low - (0 if low == 0 else spare), high + spare


def _text(
    x: float, y: float, content: str, anchor: str = "middle", fill: str = "#222", weight: str = "normal"
) -> Markup:
    return tag("text", content, x=x, y=y, text_anchor=anchor, fill=fill, font_weight=weight)
