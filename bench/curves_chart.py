"""The curves as one drawing (SVG, as in the reports) and their numbers beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from charter.report.charts import axis_number, tag, ticks

PANELS = {
    "share": "Prompt's share of prompt + completion (DPO)",
    "completions": "Completions per prompt (SFT, 16 answers)",
    "size": "Model, width x layers (DPO)",
}
COLOURS = {"ours": "#1668b8", "theirs": "#b3541e"}
NAMES = {"ours": "charter", "theirs": "TRL"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340.0, 240.0, 46.0, 14.0, 44.0, 190.0


def draw(folder: str, points: Sequence[dict[str, Any]], run: dict[str, Any]) -> None:
    """Write curves.json and curves.svg into `folder`."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "curves.json").write_text(json.dumps({"run": run, "points": points}, indent=1) + "\n", encoding="utf-8")
    panels = [
        tag(
            "g",
            _panel(title, [p for p in points if p["curve"] == curve]),
            transform=f"translate({number * WIDTH:g} 0)",
        )
        for number, (curve, title) in enumerate(PANELS.items())
    ]
    drawing = tag(
        "svg",
        tag("rect", width="100%", height="100%", fill="#fff") + Markup("").join(panels),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH * len(PANELS):g} {HEIGHT:g}",
        font_family="sans-serif",
        font_size="11",
        role="img",
        aria_label="Seconds per step of charter and TRL",
    )
    (out / "curves.svg").write_text(str(drawing) + "\n", encoding="utf-8")


def _panel(title: str, points: Sequence[dict[str, Any]]) -> Markup:
    """Seconds per step of both sides over the points of one curve, with the ratio above each."""
    top = 1.15 * max(p[side] for p in points for side in NAMES)

    def across(place: int) -> float:
        return LEFT + 16 + (WIDTH - LEFT - RIGHT - 32) * place / max(1, len(points) - 1)

    def up(seconds: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * seconds / top

    parts = [_text(WIDTH / 2, 16, title, weight="bold"), _text(LEFT - 6, TOP - 8, "s/step", "end")]
    for mark in ticks(0, top):
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(mark), y2=up(mark), stroke="#ddd"))
        parts.append(_text(LEFT - 6, up(mark) + 4, axis_number(mark), "end"))
    for place, p in enumerate(points):
        parts.append(_text(across(place), BOTTOM + 16, p["x"]))
        parts.append(_text(across(place), up(max(p["ours"], p["theirs"])) - 8, f"{p['ratio']:.1f}×", fill="#555"))
    for side, colour in COLOURS.items():
        path = " ".join(f"{across(i):.1f},{up(p[side]):.1f}" for i, p in enumerate(points))
        parts.append(tag("polyline", points=path, fill="none", stroke=colour, stroke_width=2))
        parts += [tag("circle", cx=across(i), cy=up(p[side]), r=3, fill=colour) for i, p in enumerate(points)]
    parts.append(_text(WIDTH / 2 - 40, HEIGHT - 10, NAMES["ours"], fill=COLOURS["ours"]))
    parts.append(_text(WIDTH / 2 + 40, HEIGHT - 10, NAMES["theirs"], fill=COLOURS["theirs"]))
    return Markup("").join(parts)


def _text(
    x: float, y: float, content: str, anchor: str = "middle", fill: str = "#222", weight: str = "normal"
) -> Markup:
    return tag("text", content, x=x, y=y, text_anchor=anchor, fill=fill, font_weight=weight)
