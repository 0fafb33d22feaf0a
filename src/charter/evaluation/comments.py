"""A check in words for a pull request: a Markdown comment, and workflow commands that GitHub shows as annotations.

Neither quotes a completion: those are written by a model that may say anything, and belong in the HTML page, which
escapes them. Names come from logs, so they are escaped here too.
"""

from __future__ import annotations

import re
from typing import Final

from charter.evaluation.compare import Comparison
from charter.evaluation.corrections import judge_remarks
from charter.evaluation.regression import Regression

MARKER: Final = "<!-- charter-regress -->"
"""First line of the comment: by it a workflow finds the comment to replace."""
_MARKS: Final = {"pass": "✅", "regressed": "❌", "inconclusive": "❔"}
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]|~])")
_ENTITIES: Final = {
    "&": "&amp;", "#": "&#35;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "://": "&#58;//", "www.": "www&#46;"
}  # fmt: skip
SHOWN: Final = 20
"""At most so many remarks in a comment, which a server cuts or refuses when it is too long."""


def markdown(regression: Regression) -> str:
    """The comment: verdict, a row for every gated metric, the weakest slices, remarks and judges."""
    result = regression.result
    lines = [
        MARKER,
        f"### {_MARKS[result.verdict]} charter regress: {result.verdict}",
        "",
        f"{_plain(regression.base)} → {_plain(regression.candidate)}. {_plain(result.reason)}.",
        "",
    ]
    if result.decisions:
        lines += [
            "| metric | n | base | candidate | change | 95% interval | p (Holm) | unscored | verdict |",
            "|---|--:|--:|--:|--:|---|--:|--:|---|",
        ]
    for decision in result.decisions:
        row = decision.comparison
        shown = _numbers(row) if row is not None else ["0", "–", "–", "–", "–"]
        p = "–" if decision.adjusted_p is None else f"{decision.adjusted_p:.3g}"
        unscored = str(row.unscored) if row is not None else "–"
        cells = [_plain(decision.metric), *shown, p, unscored, f"{_MARKS[decision.verdict]} {decision.verdict}"]
        lines.append(f"| {' | '.join(cells)} |")
    worsened = sum(flip.worsened for flip in regression.flips)
    lines += ["", f"Flipped: {worsened} for the worse, {len(regression.flips) - worsened} for the better."]
    remarks = [finding.sentence() for finding in regression.slices] + list(regression.notes)
    remarks += judge_remarks(regression.rows)
    if remarks:
        lines += ["", "<details><summary>Slices, remarks, judges</summary>", ""]
        lines += [f"- {_plain(remark)}" for remark in remarks[:SHOWN]]
        if len(remarks) > SHOWN:
            lines.append(f"- and {len(remarks) - SHOWN} more, in the JSON and the HTML page")
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def workflow_commands(regression: Regression) -> list[str]:
    """Workflow commands, one a line: error for regressed, warning for inconclusive and alarms, notice for a pass."""
    kinds = {"pass": "notice", "regressed": "error", "inconclusive": "warning"}
    found = [
        _command(kinds[d.verdict], f"{d.metric}: {d.verdict}", d.reason)
        for d in regression.result.decisions
        if d.verdict != "pass"
    ]
    if not found:
        result = regression.result
        found = [_command(kinds[result.verdict], f"charter regress: {result.verdict}", result.reason)]
    return found + [
        _command("warning", f"{s.metric}: slice {s.slice}", s.sentence()) for s in regression.slices if s.alarm
    ]


def _command(kind: str, title: str, text: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    name = escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{escaped(text)}"


def _numbers(row: Comparison) -> list[str]:
    if row.delta is None or row.base is None or row.candidate is None:
        return [str(row.n), "–", "–", "–", "–"]
    scale, unit, digits = (1, "", ".4g") if row.kind == "score" else (100, "%", ".1f")
    levels = [f"{scale * value:{digits}}{unit}" for value in (row.base, row.candidate)]
    changes = ["–" if value is None else f"{scale * value:+{digits}}" for value in (row.delta, row.ci_low, row.ci_high)]
    return [str(row.n), *levels, changes[0], f"{changes[1]} to {changes[2]}"]


def _plain(text: str) -> str:
    """On one line, with nothing that Markdown or HTML would act on: no link, and an @name in a log calls nobody."""
    line = _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
    for raw, entity in _ENTITIES.items():
        line = line.replace(raw, entity)
    return line
