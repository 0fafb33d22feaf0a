"""report.html: one page that opens from disk and asks nothing of the network.

Completions come from a model that may have said anything, so every text is escaped by the template, what cannot be
seen (bidirectional controls, invisible characters) is spelled out, long texts are cut with a notice, and the page's
content security policy allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from charter.report import charts, narrative, watch, words
from charter.report.data import ClauseRow, EvidenceRow, GateRule, JudgeRow, MetricRow, ReportData, SampleRow

TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_TEXT: Final = 4000
MAX_SAMPLES: Final = 120
"""Samples shown of one suite."""
CHANGES: Final = ("worsened", "improved", "changed", "same")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text cut to MAX_TEXT characters; `cut` is how many were left out."""

    text: str
    cut: int


def excerpt(text: str) -> Excerpt:
    """The beginning of a text, safe to show, and how much of it is missing."""
    return Excerpt(words.visible(text[:MAX_TEXT]), max(0, len(text) - MAX_TEXT))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric over the whole set with its two drawings."""

    row: MetricRow
    rule: GateRule | None
    judge: JudgeRow | None
    levels: Markup
    change: Markup


@dataclass(frozen=True, slots=True)
class Number:
    """A measured number beside the clause it speaks for; `scope` says what it was measured on."""

    row: MetricRow
    scope: str
    stale: bool


@dataclass(frozen=True, slots=True)
class Account:
    """A clause with its controls, its evidence and its numbers."""

    clause: ClauseRow
    numbers: tuple[Number, ...]
    evidence: tuple[EvidenceRow, ...]

    @property
    def undefined(self) -> bool:
        """True when nothing tests the clause."""
        return not self.clause.test


def comparisons(data: ReportData, rows: list[MetricRow], prefix: str) -> list[Comparison]:
    """These whole-set metrics, drawn on shared axes."""
    names = {row.name for row in rows}
    scale = charts.change_scale(rows, [rule for rule in data.gate if rule.metric in names])
    return [
        Comparison(
            row,
            rule := words.rule_for(data, row.name),
            words.judge_for(data, row.name),
            charts.level_chart(f"{prefix}-level-{i}", row, data.confidence),
            charts.change_chart(f"{prefix}-change-{i}", row, rule, scale, data.confidence),
        )
        for i, row in enumerate(rows)
    ]


def accounts(data: ReportData) -> list[Account]:
    """Every clause in the charter's order. A number of its own comes first, then those of suites that cover it."""
    found = []
    for clause in data.clauses:
        evidence = tuple(row for row in data.evidence if clause.id in row.clauses)
        stale = {row.metric for row in evidence if clause.digest and row.clauses[clause.id] != clause.digest}
        own = [row for row in data.parts() if row.clauses == (clause.id,) and row.slice is None]
        split = {row.name for row in own}
        covering = {row.metric for row in evidence} - split
        shared = [
            row for row in data.whole() if row.name in covering or (clause.id in row.clauses) > (row.name in split)
        ]
        numbers = (
            *(Number(row, "this clause", row.name in stale) for row in own),
            *(Number(row, "whole suite", row.name in stale) for row in shared),
        )
        found.append(Account(clause, numbers, evidence))
    return found


def shown_samples(data: ReportData) -> list[SampleRow]:
    """At most MAX_SAMPLES of each suite; those that flipped come first, worsened before improved."""
    shown: list[SampleRow] = []
    count: Counter[str] = Counter()
    for sample in sorted(data.samples, key=lambda sample: CHANGES.index(sample.change)):
        count[sample.suite] += 1
        if count[sample.suite] <= MAX_SAMPLES:
            shown.append(sample)
    return shown


def flips(data: ReportData) -> list[tuple[str, dict[str, int]]]:
    """(suite, how many samples changed which way), over all samples, shown or not."""
    table: dict[str, dict[str, int]] = {}
    for sample in data.samples:
        counts = table.setdefault(sample.suite, dict.fromkeys(CHANGES, 0))
        counts[sample.change] += 1
    return list(table.items())


def report_html(data: ReportData) -> str:
    """The whole page as text."""
    script, style = asset("report.js"), asset("report.css")
    aims = [row for row in data.whole() if words.is_aim(data, row)]
    rest = [row for row in data.whole() if row not in aims]
    groups = [
        ("What it should gain", comparisons(data, aims, "aim")),
        ("What it must not lose", comparisons(data, rest, "rest")),
    ]
    clauses = accounts(data)
    context: dict[str, Any] = {
        "data": data,
        "style": Markup(style),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "summary": narrative.summary(data),
        "contradictions": narrative.contradictions(data),
        "limits": narrative.limits(data),
        "run_time": narrative.run_time(data),
        "verdict_word": words.VERDICT_WORDS[data.verdict],
        "exit_code": words.EXIT_CODES[data.verdict],
        "groups": [(name, shown) for name, shown in groups if shown],
        "parts": data.parts(),
        "power": {row.metric: row for row in data.power},
        "accounts": clauses,
        "stale": any(number.stale for account in clauses for number in account.numbers),
        "flips": flips(data),
        "changes": CHANGES,
        "samples": shown_samples(data),
        "curves": [(c.stage, drawn) for i, c in enumerate(data.curves) if (drawn := charts.curve_charts(f"c{i}", c))],
        "watches": [watch.drawn(one, f"w{i}") for i, one in enumerate(data.watches)],
        "small": words.SMALL,
    }
    # Last, so that a stray surrogate in any field cannot make the file impossible to encode.
    page: str = template("report.html.j2").render(context)
    return page.encode("utf-8", "replace").decode("utf-8")


def asset(name: str) -> str:
    """A file that goes into a page as it is."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _spell_out(value: object) -> object:
    """Applied to everything the template prints; Markup is our own drawing and stays."""
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def template(name: str) -> Any:
    """A page's template: everything it prints is escaped, and what cannot be seen is spelled out."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spell_out,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": words.visible,
        "excerpt": excerpt,
        "rate": words.rate,
        "points": words.points,
        "level": words.level,
        "change": words.change,
        "number": words.number,
        "p_value": words.p_value,
        "duration": words.duration,
        "metric_title": words.metric_title,
        "percent": words.percent,
        "join_and": words.join,
    }
    environment.globals |= {"interval": words.interval, "metric_notes": words.METRIC_NOTES}
    return environment.get_template(name)
