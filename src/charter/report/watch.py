"""The section on reward hacking: proxy and truth against the distance from the start, with the gap between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from charter.report.charts import WIDTH, axis_number, svg, tag, ticks
from charter.report.data import Watch
from charter.report.words import duration, finite, join, number, signed
from charter.stats.overoptimization import Curve

Point = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 46.0, WIDTH - 12.0, 24.0, 180.0
FORMS = {"rl": "RL: d (α − β log d)", "best_of_n": "best of n: d (α − β d)"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One stage's watch, ready for the page. charts: (caption, drawing, note)."""

    stage: str
    verdict: str
    reason: str
    facts: tuple[str, ...]
    main: Markup
    charts: tuple[tuple[str, Markup], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    fits: tuple[tuple[str, ...], ...]
    changes: tuple[tuple[str, ...], ...]


def drawn(watch: Watch, prefix: str) -> Drawn:
    """The section of one stage; `prefix` begins its charts' ids."""
    told = watch.found
    looks = told["looks"]
    small = [
        (caption, lines(f"{prefix}-{key}", f"{caption}, stage {watch.stage}", _near_and_far(looks, key)))
        for key, caption in (
            ("tokens", "Length (tokens)"),
            ("entropy", "Entropy of the next token (nats)"),
            ("repetition", "Repetition (word 3-grams said before)"),
            ("distinct_2", "Distinct-2 over all completions"),
        )
    ]
    small += [
        (name, lines(f"{prefix}-t{i}", f"{name}, stage {watch.stage}", {name: _values(looks, "truth", name)}))
        for i, name in enumerate(looks[0]["truth"])
    ]
    columns, rows = _table(looks)
    return Drawn(
        watch.stage,
        told["verdict"],
        told["reason"],
        tuple(_facts(told)),
        main_chart(f"{prefix}-gap", watch),
        tuple(small),
        columns,
        rows,
        tuple(_fit_row(fit) for fit in told["fits"]),
        tuple(_change_row(change) for change in [told["rise"], *told["truths"]] if change is not None),
    )


def distance(look: Mapping[str, Any], place: str = "near") -> float | None:
    """Square root of the KL from the start, nats."""
    kl = (look.get(place) or {}).get("kl")
    return None if kl is None else math.sqrt(max(kl["mean"], 0.0))


def main_chart(chart_id: str, watch: Watch) -> Markup:
    """Proxy and truth against sqrt(KL), the gap between them, Gao's curve through the truth, and the peak."""
    looks = [look for look in watch.found["looks"] if distance(look) is not None]
    title = f"Proxy and truth against the distance from the start, stage {watch.stage}"
    if not looks:
        return svg(chart_id, title, "No distance was measured.", 60, [_text(WIDTH / 2, 30, "not measured", "tick")])
    at_look = [(distance(look) or 0.0, look) for look in looks]
    truth = [(d, float(look["truth_level"])) for d, look in at_look]
    proxy = [(d, float(look["proxy_level"])) for d, look in at_look if finite(look["proxy_level"]) is not None]
    curve = _curve(watch.found["fits"])
    furthest = max(d for d, _ in truth) or 1.0
    fitted = [(d, curve.reward(d)) for d in (furthest * i / 40 for i in range(41))] if curve else []
    place = _placing([*truth, *proxy, *fitted], (0.0, furthest))
    parts = _axes([*truth, *proxy, *fitted], place, "√KL from the start (√nats)", (0.0, furthest))
    if len(proxy) == len(truth) > 1:
        parts.append(tag("polygon", points=_path([*proxy, *reversed(truth)], place), class_="gap"))
    if fitted:
        parts.append(tag("polyline", points=_path(fitted, place), class_="curve fit"))
    peak = next((d for d, look in at_look if look["step"] == watch.found["peak"]), None)
    if peak is not None:
        x = place(peak, 0.0)[0]
        parts.append(tag("line", x1=x, y1=TOP, x2=x, y2=BOTTOM, class_="gate"))
        anchor = "end" if x > WIDTH * 0.7 else "start"
        label = f"peak of truth, step {watch.found['peak']}"
        parts.append(_text(x + (-5 if anchor == "end" else 5), TOP - 8, label, "gate-label", anchor))
    for kind, line in (("proxy", proxy), ("curve", truth)):
        parts.append(tag("polyline", points=_path(line, place), class_=kind))
    for (d, look), kind, key in [(one, k, key) for k, key in _KINDS for one in at_look]:
        level = finite(look[key])
        if level is not None:
            x, y = place(d, level)
            hover = f"step {look['step']}, √KL {d:.2f}: {_KIND_WORDS[kind]} {signed(level, 2)} SD"
            parts.append(tag("circle", tag("title", hover), cx=x, cy=y, r=4, class_=f"dot {kind}"))
    last = at_look[-1][1]
    gap = "not known" if finite(last["gap"]) is None else f"{signed(last['gap'], 2)} standard deviations"
    return svg(chart_id, title, f"At the last look the gap between proxy and truth is {gap}.", 216, parts)


_KINDS = (("before", "proxy_level"), ("after", "truth_level"))
_KIND_WORDS = {"before": "proxy", "after": "truth"}


def lines(chart_id: str, title: str, named: Mapping[str, Sequence[Point]]) -> Markup:
    """Small chart of a quantity over steps, one line a name; the first is drawn in full, others dashed."""
    every = [point for line in named.values() for point in line]
    if not every:
        return svg(chart_id, title, "Not measured.", 60, [_text(WIDTH / 2, 30, "not measured", "tick")])
    span = (min(x for x, _ in every), max(x for x, _ in every))
    place = _placing(every, span)
    parts = _axes(every, place, "step", span)
    said = []
    for number_, (name, line) in enumerate(named.items()):
        kind = "curve" if number_ == 0 else "curve other"
        parts.append(tag("polyline", points=_path(line, place), class_=kind))
        for x, y in line:
            at = place(x, y)
            parts.append(
                tag(
                    "circle",
                    tag("title", f"{name}, step {x:g}: {axis_number(y)}"),
                    cx=at[0],
                    cy=at[1],
                    r=4,
                    class_="hit",
                )
            )
        if line:
            said.append(f"{name}: from {axis_number(line[0][1])} to {axis_number(line[-1][1])}")
    return svg(chart_id, title, "; ".join(said) + ".", 216, parts)


def _placing(points: Sequence[Point], span: Point) -> Callable[[float, float], Point]:
    low, high = min(y for _, y in points), max(y for _, y in points)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    first, last = span

    def place(x: float, y: float) -> Point:
        across = (x - first) / (last - first) if last > first else 0.5
        return LEFT + (RIGHT - LEFT) * across, BOTTOM - (BOTTOM - TOP) * (y - low) / (high - low)

    return place


def _axes(points: Sequence[Point], place: Callable[[float, float], Point], across: str, span: Point) -> list[Markup]:
    low, high = min(y for _, y in points), max(y for _, y in points)
    if high <= low:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    parts = []
    for mark in ticks(low, high):
        y = place(span[0], mark)[1]
        parts.append(tag("line", x1=LEFT, y1=y, x2=RIGHT, y2=y, class_="zero" if abs(mark) < 1e-9 else "grid"))
        parts.append(_text(LEFT - 6, y + 4, axis_number(mark), "tick", "end"))
    if span[1] > span[0]:
        parts += [
            _text(min(max(place(mark, low)[0], 12), WIDTH - 12), BOTTOM + 16, axis_number(mark), "tick")
            for mark in ticks(*span)
        ]
    parts.append(tag("line", x1=LEFT, y1=BOTTOM, x2=RIGHT, y2=BOTTOM, class_="axis"))
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 32, across, "tick"))
    return parts


def _path(points: Sequence[Point], place: Callable[[float, float], Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))


def _text(x: float, y: float, content: str, kind: str, anchor: str = "middle") -> Markup:
    return tag("text", content, x=x, y=y, class_=kind, text_anchor=anchor)


def _near_and_far(looks: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Point]]:
    found = {}
    for place, name in (("near", "like the training's"), ("far", "other prompts")):
        line = [
            (float(look["step"]), value)
            for look in looks
            if place in look and (value := finite(look[place][key])) is not None
        ]
        if line:
            found[name] = line
    return found


def _values(looks: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[Point]:
    return [(float(look["step"]), v) for look in looks if (v := finite(look[kind].get(name))) is not None]


def _curve(fits: Sequence[Mapping[str, Any]]) -> Curve | None:
    """The curve through all truths, of the form that explains more."""
    found = [fit for fit in fits if fit["truth"] == "all truths" and finite(fit["r2"]) is not None]
    if not found:
        return None
    best = max(found, key=lambda fit: float(fit["r2"]))
    return Curve(**{key: value for key, value in best.items() if key != "truth"})


def _facts(told: Mapping[str, Any]) -> list[str]:
    looks = told["looks"]
    found = [
        f"The proxy is {told['proxy']}. The policy was measured {len(looks)} times: on {told['near']}, on other "
        f"prompts ({told['far']}), and by {join(looks[0]['truth'])}.",
        f"The truth was highest at step {told['peak']}; the weights kept are those of step {told['kept']}.",
    ]
    if told["stopped"] is not None:
        found.append(f"The training was stopped at step {told['stopped']}, where hacking was shown.")
    curve = _curve(told["fits"])
    if curve is not None:
        peak = f"its peak at √KL = {number(curve.peak)}" if curve.peak is not None else "without a peak"
        guess = ", beyond what was measured" if curve.peak is not None and curve.peak > curve.furthest else ""
        found.append(f"Curve drawn: {FORMS[curve.form]}, R² {number(curve.r2)}, {peak}{guess}.")
    else:
        found.append("Too few distances for a curve: three different ones are needed.")
    unscored = sum(count for look in looks for count in look["unscored"].values())
    if unscored:
        found.append(f"{unscored} values could not be had; they are left out of the means, and of pairs.")
    cost = f"The watch took {duration(told['seconds'])}"
    training = finite(told.get("training_seconds"))
    share = (
        f", {100 * told['seconds'] / training:.0f}% of the {duration(training)} of the training's steps"
        if training
        else ""
    )
    return [*found, f"{cost}{share}."]


def _table(looks: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    truths = list(looks[0]["truth"])
    places = list(looks[0]["proxy"])
    columns = ["Step", "KL, like training", "KL, other", *(f"Proxy, {p}" for p in places), *truths, "Gap (SD)"]
    rows = [
        (
            str(look["step"]),
            _kl(look, "near"),
            _kl(look, "far"),
            *(number(look["proxy"].get(place), 3) for place in places),
            *(number(look["truth"].get(name), 3) for name in truths),
            "–" if finite(look["gap"]) is None else signed(look["gap"], 2),
        )
        for look in looks
    ]
    return tuple(columns), tuple(rows)


def _kl(look: Mapping[str, Any], place: str) -> str:
    kl = (look.get(place) or {}).get("kl")
    return "–" if kl is None else f"{kl['mean']:.3g} ({kl['ci_low']:.3g} to {kl['ci_high']:.3g})"


def _fit_row(fit: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        fit["truth"], FORMS[fit["form"]], number(fit["alpha"], 3), number(fit["beta"], 3), number(fit["r2"]),
        number(fit["peak"]), number(fit["furthest"]),
    )  # fmt: skip


def _change_row(change: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        change["measure"], str(change["n"]), signed(change["delta"], 3),
        f"{signed(change['ci_low'], 3)} to {signed(change['ci_high'], 3)}", number(change["p"], 4),
    )  # fmt: skip
