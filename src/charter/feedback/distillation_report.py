"""What a context distillation did, in numbers and in one drawing (after figures 15 and 16 of Llama 2's paper).

- The histograms of safety scores: bare answers, answers under the generic and under the targeted pre-prompt.
- Each prompt's gain against its bare score, kept or not.
- Of the helpful prompts, how many would be taught a refusal, with the gate and without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from charter.feedback.distillation import Distillation, Distilled, Gate
from charter.stats.intervals import wilson

CONTEXTS: Final = ("bare", "generic", "targeted")
_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between neighbouring `edges` (one more than counts); the mean, None without a score."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float | None
    unscored: int


@dataclass(frozen=True, slots=True)
class Point:
    """One prompt: its bare score, its gain, and whether its pre-prompted answer was kept."""

    id: str
    kind: str
    base: float
    gain: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Refusals:
    """Of `n` helpful prompts, how many are taught a full refusal; with a Wilson interval at 95%."""

    n: int
    refused: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DistillationReport:
    """All of it. Where the gate was off (its gain is null), "gated" says what one by a gain above 0 would have done."""

    gate: Gate
    histograms: tuple[Histogram, ...]
    points: tuple[Point, ...]
    helpful_refused_gated: Refusals
    helpful_refused_ungated: Refusals

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def report_of(done: Distillation) -> DistillationReport:
    """The report of a finished distillation."""
    gate = Gate() if done.gate.gain is None else done.gate
    scores = {name: [row.scores[name] for row in done.rows] for name in CONTEXTS}
    known = [score for these in scores.values() for score in these if score is not None]
    low, high = (min([0.0, *known]), max([1.0, *known]))
    points = tuple(
        Point(row.prompt.id, row.prompt.kind, base, gain, row.passes(done.gate))
        for row in done.rows
        if (gain := row.gain) is not None and (base := row.scores["bare"]) is not None
    )
    helpful = [row for row in done.rows if row.prompt.kind == "helpful" and row.refused is not None]
    return DistillationReport(
        gate=done.gate,
        histograms=tuple(_histogram(name, these, low, high) for name, these in scores.items()),
        points=points,
        helpful_refused_gated=_refusals(helpful, [bool(r.refused) and r.passes(gate) for r in helpful]),
        helpful_refused_ungated=_refusals(helpful, [bool(r.refused) for r in helpful]),
    )


def _refusals(rows: Sequence[Distilled], refused: Iterable[bool]) -> Refusals:
    count = sum(refused)
    return Refusals(len(rows), count, *wilson(count, len(rows)))


def _histogram(name: str, scores: Sequence[float | None], low: float, high: float) -> Histogram:
    known = [score for score in scores if score is not None]
    width = (high - low) / _BINS
    counts = [0] * _BINS
    for score in known:
        counts[min(_BINS - 1, int((score - low) / width))] += 1
    edges = tuple(round(low + i * width, 6) for i in range(_BINS + 1))
    return Histogram(name, edges, tuple(counts), sum(known) / len(known) if known else None, len(scores) - len(known))


_COLOURS: Final = {"bare": "#8a8a8a", "generic": "#3b7dd8", "targeted": "#1f8a4c"}
_PANEL, _GAP, _HEIGHT = 300, 60, 260


def drawing(report: DistillationReport) -> str:
    """The report as one SVG: histograms as outlines, left; gain against bare score, right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _PANEL + 2 * _GAP} {_HEIGHT + 60}" '
        'font-family="sans-serif" font-size="11">',
        "<title>Safety scores with and without pre-prompts, and the gain of each prompt</title>",
    ]
    parts += _histograms(report, _GAP / 2)
    parts += _scatter(report, 1.5 * _GAP + _PANEL)
    return "\n".join([*parts, "</svg>\n"])


def _histograms(report: DistillationReport, left: float) -> list[str]:
    highest = max([1, *(count for one in report.histograms for count in one.counts)])
    parts = _frame(left, "safety score", "answers")
    for place, one in enumerate(report.histograms):
        step = _PANEL / len(one.counts)
        outline = " ".join(
            f"{left + (i + side) * step:.1f},{30 + _HEIGHT * (1 - count / highest):.1f}"
            for i, count in enumerate(one.counts)
            for side in (0, 1)
        )
        colour = _COLOURS[one.name]
        parts.append(f'<polyline points="{outline}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        mean = "no score" if one.mean is None else f"mean {one.mean:.2f}"
        parts.append(_text(left + 8, 44 + 14 * place, f"{one.name}: {mean}", colour))
    low, high = report.histograms[0].edges[0], report.histograms[0].edges[-1]
    return [*parts, *_ends(left, low, high), _text(left - 4, 34, str(highest), "#444", "end")]


def _scatter(report: DistillationReport, left: float) -> list[str]:
    low, high = report.histograms[0].edges[0], report.histograms[0].edges[-1]
    reach = max([0.1, *(abs(point.gain) for point in report.points)])
    middle = 30 + _HEIGHT / 2
    parts = _frame(left, "safety score of the bare answer", "gain")
    parts.append(f'<line x1="{left}" x2="{left + _PANEL}" y1="{middle}" y2="{middle}" stroke="#bbb"/>')
    for point in report.points:
        x, y = left + _PANEL * (point.base - low) / (high - low), middle - _HEIGHT / 2 * point.gain / reach
        colour = _COLOURS["targeted"] if point.kept else "#c0392b"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}" fill-opacity="0.5"/>')
    parts += [_text(left - 4, 34, f"+{reach:.2g}", "#444", "end"), _text(left - 4, middle + 4, "0", "#444", "end")]
    parts.append(_text(left + _PANEL - 4, 44, "kept", _COLOURS["targeted"], "end"))
    parts.append(_text(left + _PANEL - 4, 58, "left out", "#c0392b", "end"))
    return [*parts, *_ends(left, low, high)]


def _frame(left: float, below: str, title: str) -> list[str]:
    return [
        f'<rect x="{left}" y="30" width="{_PANEL}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>',
        _text(left + _PANEL / 2, _HEIGHT + 56, below, "#444", "middle"),
        _text(left, 22, title, "#444"),
    ]


def _ends(left: float, low: float, high: float) -> list[str]:
    y = _HEIGHT + 44
    return [_text(left, y, f"{low:g}", "#444", "middle"), _text(left + _PANEL, y, f"{high:g}", "#444", "middle")]


def _text(x: float, y: float, content: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(content)}</text>'
