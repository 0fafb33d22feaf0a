"""Small charts as inline SVG: coloured by the page's CSS, titled for screen readers, about 340 units wide each.

That width is what a phone has, so the same drawing is readable there and in a column of a wide page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from charter.report.data import Curve, GateRule, MetricRow
from charter.report.words import base_word, finite, interval, metric_title, percent, points, rate, signed, visible
from charter.stats.intervals import wilson

WIDTH = 340
MAX_POINTS = 120


def tag(name: str, content: object = "", **attributes: object) -> Markup:
    """One SVG element; texts are escaped and made visible. `class_`, `text_anchor` become `class`, `text-anchor`."""
    shown = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value)) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(
        Markup(name), shown, content if isinstance(content, Markup) else visible(str(content))
    )


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def svg(chart_id: str, title: str, description: str, height: int, parts: Iterable[Markup]) -> Markup:
    """The frame of a chart: its title and description are read aloud in place of the drawing."""
    head = tag("title", title, id=f"{chart_id}-t") + tag("desc", description, id=f"{chart_id}-d")
    return tag(
        "svg",
        head + Markup("").join(parts),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{chart_id}-t {chart_id}-d",
    )


def _text(x: float, y: float, content: str, kind: str, anchor: str = "middle") -> Markup:
    return tag("text", content, x=x, y=y, class_=kind, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _kept_inside(x: float, half: float) -> float:
    """The centre of a label of half-width `half`, moved so that it stays on the drawing."""
    return min(max(x, half), WIDTH - half)


def level_interval(value: float | None, n: int, confidence: float) -> tuple[float, float] | None:
    """Wilson interval of one rate. For scores between 0 and 1 it is, if anything, too wide."""
    known = finite(value)
    if known is None or n <= 0 or not 0 <= known <= 1:
        return None
    return wilson(round(known * n), n, confidence)


def level_chart(chart_id: str, row: MetricRow, confidence: float) -> Markup:
    """Before and after as two points with their intervals on a scale from 0% to 100%."""

    def at(value: float) -> float:
        return 14 + (WIDTH - 28) * min(max(value, 0.0), 1.0)

    base, candidate = finite(row.base), finite(row.candidate)
    parts = [_line(at(mark), 22, at(mark), 58, "grid") for mark in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_text(_kept_inside(at(mark), 14), 92, f"{100 * mark:.0f}%", "tick") for mark in (0, 0.5, 1)]
    if base is not None and candidate is not None:
        parts.append(_line(at(base), 40, at(candidate), 40, "link"))
    for value, y, name, kind in ((base, 34, base_word(row.name), "before"), (candidate, 46, "after", "after")):
        if value is None:
            parts.append(_text(WIDTH / 2, 14 if kind == "before" else 76, f"{name}: not measured", "tick"))
            continue
        span = None if name == "chance" else level_interval(value, row.n, confidence)
        if span is not None:
            parts.append(_line(at(span[0]), y, at(span[1]), y, f"span {kind}"))
        hover = f"{name} {rate(value)}" + (f", interval {rate(span[0])} to {rate(span[1])}" if span else "")
        parts.append(tag("circle", tag("title", hover), cx=at(value), cy=y, r=5, class_=f"dot {kind}"))
        label_y = 14 if kind == "before" else 74
        parts.append(_text(_kept_inside(at(value), 40), label_y, f"{name} {rate(value)}", f"value {kind}"))
    title = f"{metric_title(row.name)}: {base_word(row.name)} and after"
    return svg(
        chart_id,
        title,
        f"{base_word(row.name).capitalize()} {rate(base)}, after {rate(candidate)}, {row.n} pairs.",
        96,
        parts,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """The shared axis of the change charts, in rate units."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The x of a change, kept on the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return 14 + (WIDTH - 28) * min(max(share, 0.0), 1.0)


def change_scale(rows: Iterable[MetricRow], rules: Iterable[GateRule]) -> Scale:
    """An axis that holds every interval and every margin, in steps of ten points, zero always on it."""
    values = [-0.15, 0.15]
    for row in rows:
        values += [known for value in (row.delta, row.ci_low, row.ci_high) if (known := finite(value)) is not None]
    values += [known for rule in rules if (known := finite(rule.threshold)) is not None]
    return Scale(math.floor(min(values) * 10 - 1e-9) / 10, math.ceil(max(values) * 10 + 1e-9) / 10)


def change_chart(chart_id: str, row: MetricRow, rule: GateRule | None, scale: Scale, confidence: float) -> Markup:
    """The change with its interval, the line of no change, and the gate's margin with the failing side shaded."""
    delta, low, high = finite(row.delta), finite(row.ci_low), finite(row.ci_high)
    threshold = finite(rule.threshold) if rule else None
    parts: list[Markup] = []
    if threshold is not None:
        left = scale.at(scale.low)
        parts.append(tag("rect", x=left, y=22, width=scale.at(threshold) - left, height=36, class_="fail"))
    step = 0.05 if scale.high - scale.low <= 0.45 else 0.1 if scale.high - scale.low <= 0.8 else 0.2
    marks = [i * step for i in range(math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9) + 1)]
    for mark in marks:
        zero = abs(mark) < 1e-9
        parts.append(_line(scale.at(mark), 22, scale.at(mark), 58, "zero" if zero else "grid"))
        parts.append(_text(_kept_inside(scale.at(mark), 12), 92, signed(100 * mark, 0), "tick"))
    gate_words = "no gate"
    if threshold is not None:
        gate_words = f"gate: above {signed(100 * threshold, 1).replace('.0', '')}"
        parts.append(_line(scale.at(threshold), 18, scale.at(threshold), 62, "gate"))
        parts.append(_text(_kept_inside(scale.at(threshold), 46), 74, gate_words, "gate-label"))
    if delta is None:
        parts.append(_text(WIDTH / 2, 14, "not measured", "tick"))
    else:
        words = f"{points(delta)} points" + (
            f" ({interval(low, high)})" if low is not None and high is not None else ""
        )
        if low is not None and high is not None:
            parts.append(_line(scale.at(low), 40, scale.at(high), 40, "span after"))
            parts += [_line(scale.at(end), 35, scale.at(end), 45, "cap after") for end in (low, high)]
        parts.append(tag("circle", tag("title", words), cx=scale.at(delta), cy=40, r=5, class_="dot after"))
        parts.append(_text(_kept_inside(scale.at(delta), 3.8 * len(words)), 14, words, "value after"))
    description = f"Change {points(delta)} points, {percent(confidence)} interval {interval(low, high)}; {gate_words}."
    return svg(chart_id, f"{metric_title(row.name)}: change", description, 96, parts)


@dataclass(frozen=True, slots=True)
class Series:
    """One line to draw: its key in metrics.jsonl, a caption with its unit, and how to print a value."""

    key: str
    caption: str
    decimals: int = 3
    foot: float | None = None
    """A value that the axis reaches down to, so that noise in a steady series looks like noise."""


SERIES = (
    Series("loss", "Loss (nats)"),
    Series("reward", "Reward of the samples"),
    Series("margin", "Preference margin (β × nats)"),
    Series("accuracy", "Preference accuracy (share of pairs)", foot=0.5),
    Series("tokens_per_second", "Speed (tokens per second)", 0, foot=0.0),
    Series("grad_norm", "Gradient norm", foot=0.0),
    Series("lr", "Learning rate", 6, foot=0.0),
)


def curve_charts(prefix: str, curve: Curve) -> list[tuple[str, Markup, str]]:
    """(caption, chart, note) of every known series that a stage logged at least twice."""
    charts = []
    for series in SERIES:
        points_N = [(row["step"], row[series.key]) for row in curve.rows if series.key in row and "step" in row]
        points_N = [(x, y) for x, y in points_N if math.isfinite(x) and math.isfinite(y)]
        if len(points_N) < 2:
            continue
        drawn, each = thin(points_N)
        note = f"Each point is the mean of {each} logged steps." if each > 1 else ""
        charts.append((series.caption, line_chart(f"{prefix}-{series.key}", curve.stage, series, drawn), note))
    return charts


def thin(points_N: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], int]:
    """At most MAX_POINTS points by averaging neighbours, and how many went into each."""
    each = math.ceil(len(points_N) / MAX_POINTS)
    groups = [points_N[i : i + each] for i in range(0, len(points_N), each)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups], each


def ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers (1, 2 or 5 times a power of ten) inside [low, high]; low < high."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    marks: list[float] = []
    for step in (10 * power, 5 * power, 2 * power, power, power / 2):
        marks = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        if len(marks) >= 3:
            break
    return marks


def axis_number(value: float) -> str:
    """A tick's label, short at any size: 0.00001, 0.25, 1,200."""
    if value != 0 and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    return f"{round(value, 6):,.6g}".replace("-", "−")


def line_chart(chart_id: str, stage: str, series: Series, drawn: Sequence[tuple[float, float]]) -> Markup:
    """One series over training steps, with round ticks and the value at each point on hover."""
    xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
    low, high = min(ys), max(ys)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = (max(0.0, low - room) if low >= 0 else low - room), high + room
    if series.foot is not None and series.foot < high:
        low = min(low, series.foot)
    left, right, top, bottom = 46.0, WIDTH - 10.0, 10.0, 150.0
    first, last = min(xs), max(xs)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        return left + (right - left) * across, bottom - (bottom - top) * (y - low) / (high - low)

    parts = []
    for mark in ticks(low, high):
        parts.append(_line(left, at(first, mark)[1], right, at(first, mark)[1], "grid"))
        parts.append(_text(left - 6, at(first, mark)[1] + 4, axis_number(mark), "tick", "end"))
    if last > first:
        parts += [
            _text(_kept_inside(at(mark, low)[0], 10), 166, axis_number(mark), "tick")
            for mark in ticks(first, last)
            if mark == int(mark)
        ]
    parts.append(_line(left, bottom, right, bottom, "axis"))
    parts.append(_text((left + right) / 2, 182, "step", "tick"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in drawn))
    parts.append(tag("polyline", points=path, class_="curve"))
    for x, y in drawn:
        hover = f"step {x:g}: {y:,.{series.decimals}f}".replace("-", "−")
        parts.append(tag("circle", tag("title", hover), cx=at(x, y)[0], cy=at(x, y)[1], r=6, class_="hit"))
    description = f"From {axis_number(ys[0])} at step {xs[0]:g} to {axis_number(ys[-1])} at step {xs[-1]:g}."
    return svg(chart_id, f"{series.caption}, stage {stage}", description, 188, parts)
