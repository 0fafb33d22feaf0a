"""Success rates of attacks (rows) by category of behaviour (columns) as one SVG that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from charter.redteam.results import Rate, Row, rate_of, rates

_CELL_WIDTH: Final = 46
_CELL_HEIGHT: Final = 24
_ANGLE: Final = 40
_LOW: Final = (247, 247, 245)
_HIGH: Final = (165, 23, 38)
_EMPTY: Final = "#ffffff"


def heat_map(rows: Sequence[Row], title: str) -> str:
    """The drawing as text. A cell's number is a rate in percent; empty: nothing scored. The last column is over all.

    Columns are the behaviours' categories, or their clauses where they have no category.
    """
    attacks = [rate.name for rate in rates(rows, "attack")]
    by = "category" if any(row.get("category") for row in rows) else "clause"
    columns = [rate.name for rate in rates(rows, by)]
    left = 20 + round(6.7 * max(len(attack) for attack in attacks))
    top = 62 + round(4.4 * max((len(column) for column in columns), default=4))
    width = left + _CELL_WIDTH * (len(columns) + 1) + 10 + round(5 * max((len(c) for c in columns), default=4))
    height = top + _CELL_HEIGHT * len(attacks) + 34
    parts = [_text(12, 24, title, size=15, weight="600")]
    for place, column in enumerate([*columns, "all"]):
        x = left + _CELL_WIDTH * place + _CELL_WIDTH / 2 + _gap(place, len(columns))
        parts.append(_text(x, top - 8, column.replace("_", " "), turn=-_ANGLE, weight="600" if column == "all" else ""))
    for line, attack in enumerate(attacks):
        y = top + _CELL_HEIGHT * line
        members = [row for row in rows if row["attack"] == attack]
        parts.append(_text(left - 8, y + 16, attack, anchor="end"))
        found = {rate.name: rate for rate in rates(members, by)}
        cells = [*(found.get(column) for column in columns), rate_of("attack", attack, members)]
        for place, rate in enumerate(cells):
            parts.append(_cell(left + _CELL_WIDTH * place + _gap(place, len(columns)), y, rate, attack))
    note = "Percent of behaviours on which the attack got through; empty: not tried or not scored."
    parts.append(_text(12, height - 12, note, size=11))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" font-family="system-ui, sans-serif" font-size="12">'
    )
    frame = f"<title>{escape(title)}</title><rect width='100%' height='100%' fill='#ffffff'/>"
    return "\n".join([head, frame, *parts, "</svg>"]) + "\n"


def _gap(place: int, columns: int) -> int:
    """The column over all stands a little apart."""
    return 8 if place == columns else 0


def _cell(x: float, y: float, rate: Rate | None, attack: str) -> str:
    if rate is None or rate.rate is None:
        return _box(x, y, _EMPTY, "")
    mixed = [round(low + (high - low) * rate.rate) for low, high in zip(_LOW, _HIGH, strict=True)]
    said = f"{attack}, {rate.name}: {rate.successes} of {rate.n}, interval {rate.low:.0%} to {rate.high:.0%}"
    ink = "#ffffff" if rate.rate > 0.6 else "#222222"
    number = _text(x + _CELL_WIDTH / 2, y + 16, f"{100 * rate.rate:.0f}", anchor="middle", ink=ink, size=11)
    return _box(x, y, f"rgb({mixed[0]},{mixed[1]},{mixed[2]})", said) + number


def _box(x: float, y: float, fill: str, said: str) -> str:
    title = f"<title>{escape(said)}</title>" if said else ""
    size = f'width="{_CELL_WIDTH - 2}" height="{_CELL_HEIGHT - 2}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} rx="2" fill="{fill}" stroke="#d5d5d0">{title}</rect>'


def _text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    size: int = 12,
    turn: int = 0,
    weight: str = "",
    ink: str = "#222222",
) -> str:
    turned = f' transform="rotate({turn} {x:g} {y:g})"' if turn else ""
    heavy = f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{ink}"{heavy}{turned}>'
        f"{escape(content)}</text>"
    )
