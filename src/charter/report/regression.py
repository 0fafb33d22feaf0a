"""The page of a regression check: verdict, numbers, flipped samples side by side. One file, no network, no script.

The same care as report.html: texts are escaped and cut by the template, and the page may load and run nothing.
"""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from charter import __version__
from charter.evaluation.compare import DESCRIPTIVE_BELOW
from charter.evaluation.corrections import judge_remarks
from charter.evaluation.regression import Flip, Regression
from charter.report import words
from charter.report.html import asset, template

MAX_FLIPS: Final = 120
"""Shown of one metric."""


def regression_html(regression: Regression) -> str:
    """The whole page as text."""
    result = regression.result
    context: dict[str, Any] = {
        "regression": regression,
        "style": Markup(asset("report.css")),
        "verdict_word": words.VERDICT_WORDS[result.verdict],
        "decisions": {id(d.comparison): d for d in result.decisions if d.comparison is not None},
        "groups": _groups(regression.flips),
        "worsened": sum(flip.worsened for flip in regression.flips),
        "judges": judge_remarks(regression.rows),
        "ident": id,
        "small": DESCRIPTIVE_BELOW,
        "version": __version__,
    }
    page: str = template("regression.html.j2").render(context)
    # A stray surrogate in any text would make the file impossible to encode.
    return page.encode("utf-8", "replace").decode("utf-8")


def _groups(flips: tuple[Flip, ...]) -> list[tuple[str, list[Flip], int]]:
    """(suite and metric, the flips shown, how many are not), worsened first as they come."""
    table: dict[str, list[Flip]] = {}
    for flip in flips:
        table.setdefault(f"{flip.base.suite} · {flip.base.metric}", []).append(flip)
    return [(name, found[:MAX_FLIPS], max(0, len(found) - MAX_FLIPS)) for name, found in table.items()]
