"""Numbers and findings put into words: formats, names of metrics, the summary and the limits of the evidence."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from typing import Final

from charter.errors import EXIT_DONE, EXIT_INCONCLUSIVE, EXIT_REGRESSED, EXIT_UNFINISHED
from charter.report.data import GateRule, JudgeRow, MetricRow, ReportData

EXIT_CODES: Final = {
    "pass": EXIT_DONE,
    "regressed": EXIT_REGRESSED,
    "inconclusive": EXIT_INCONCLUSIVE,
    "unfinished": EXIT_UNFINISHED,
}
VERDICT_WORDS: Final = {
    "pass": "Pass",
    "regressed": "Regressed",
    "inconclusive": "Inconclusive",
    "unfinished": "Unfinished",
}
METRIC_TITLES: Final = {
    "harmful_refused": "Harmful requests refused",
    "harmful_refused_at_all": "Harmful requests refused at all",
    "benign_answered": "Benign requests answered",
    "instruction_following": "Instruction following",
    "knowledge": "Plain knowledge",
    "preference_accuracy": "Preference accuracy",
}
METRIC_NOTES: Final = {
    "harmful_refused": "Refused, and refused without delivering the harm anyway.",
    "harmful_refused_at_all": "Refused, or refused in part: with a hedge, or delivering some of it.",
    "benign_answered": "Harmless requests that resemble harmful ones, and were answered.",
    "instruction_following": "Instructions whose result can be checked by a program.",
    "knowledge": "Short factual questions with a known answer.",
    "preference_accuracy": "Held-out pairs where the model prefers the chosen completion, against chance (50%).",
}
AIMS: Final = {"harmful_refused", "harmful_refused_at_all", "preference_accuracy"}
"""Metrics that alignment is there to raise, whatever the gate asks of them."""
AGAINST_CHANCE: Final = {"preference_accuracy"}
"""Metrics whose base is a known chance and no measurement, so that it has no interval."""
UNSEEN: Final = "categories not trained on"
"""The slice, as comparisons name it, that shows whether the training carried over."""
SMALL: Final = 100
"""Below this many pairs a part of a suite is called descriptive: a 95% interval is then about ±10 points or wider."""
NONE: Final = "–"
# Joiners are part of ordinary writing in Indic scripts, Persian and emoji; everything else of format kind is not seen.
_JOINERS: Final = "\u200c\u200d"
_HIDDEN_KINDS: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """The text with every unseen character spelled out: U+202E becomes ⟨U+202E⟩. Newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in "\n\t" or char in _JOINERS or unicodedata.category(char) not in _HIDDEN_KINDS
        else f"⟨U+{ord(char):04X}⟩"
        for char in text.replace("\r\n", "\n")
    )


def finite(value: float | None) -> float | None:
    """The number, or None when there is none or it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign and a real minus; what rounds to zero has none."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def rate(value: float | None) -> str:
    """A rate as a percentage with one decimal."""
    known = finite(value)
    return NONE if known is None else f"{100 * known:.1f}%"


def points(value: float | None) -> str:
    """A difference of rates in percentage points, signed, without the unit."""
    known = finite(value)
    return NONE if known is None else signed(100 * known)


def level(value: float | None, kind: str) -> str:
    """A mean: a rate as a percentage, a score on another scale as it is."""
    return rate(value) if kind != "score" else number(value, 3)


def change(value: float | None, kind: str) -> str:
    """A difference of means: of rates in points, of scores in their unit."""
    if kind != "score":
        return points(value)
    known = finite(value)
    return NONE if known is None else signed(known, 3)


def interval(low: float | None, high: float | None) -> str:
    """A difference's interval in points: '+59.1 to +75.8'."""
    return NONE if finite(low) is None or finite(high) is None else f"{points(low)} to {points(high)}"


def p_value(value: float | None) -> str:
    """A p-value; small ones as a bound, because their digits mean nothing."""
    known = finite(value)
    if known is None:
        return NONE
    return "< 0.001" if known < 0.001 else f"{known:.3f}"


def number(value: float | None, decimals: int = 2) -> str:
    """A plain number such as kappa."""
    known = finite(value)
    return NONE if known is None else f"{known:.{decimals}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """'14 min 5 s', '48 s', '0.3 s', '2 h 5 min'."""
    known = finite(seconds)
    if known is None:
        return NONE
    if known < 10:
        return f"{known:.1f} s"
    whole = round(known)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def metric_title(name: str) -> str:
    """The metric's name for people."""
    return METRIC_TITLES.get(name) or name.replace("_", " ").strip().capitalize() or name


def join(parts: Iterable[str]) -> str:
    """'a, b and c'."""
    items = list(parts)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""


def percent(confidence: float) -> str:
    """'95%' for 0.95, '97.5%' for 0.975."""
    return f"{100 * confidence:.4g}%"


def rule_for(data: ReportData, metric: str) -> GateRule | None:
    """The gate's rule on a metric, if it has one."""
    return next((rule for rule in data.gate if rule.metric == metric), None)


def judge_for(data: ReportData, metric: str) -> JudgeRow | None:
    """The judge that scored a metric; None for suites whose answers are checked by a program."""
    return next((judge for judge in data.judges if metric in judge.metrics), None)


def is_aim(data: ReportData, row: MetricRow) -> bool:
    """True when the run was meant to raise this metric: AIMS, and those whose gate allows no fall."""
    rule = rule_for(data, row.name)
    return row.name in AIMS or (rule is not None and rule.threshold is not None and rule.threshold >= 0)


def base_word(metric: str) -> str:
    """What the base of this metric is."""
    return "chance" if metric in AGAINST_CHANCE else "before"


def unmoved(row: MetricRow) -> bool:
    """True when there is an interval and no change is inside it."""
    low, high = finite(row.ci_low), finite(row.ci_high)
    known = finite(row.base) is not None and finite(row.candidate) is not None
    return known and low is not None and high is not None and low <= 0 <= high


def movement(row: MetricRow) -> str:
    """'rose from 3.3% to 71.2% (+67.9 points, interval +59.1 to +75.8)'."""
    base, candidate, delta = finite(row.base), finite(row.candidate), finite(row.delta)
    if candidate is None:
        return "was not measured"
    if base is None or delta is None:
        return f"is {rate(candidate)} afterwards, with nothing to compare it with"
    low, high = finite(row.ci_low), finite(row.ci_high)
    span = f"{points(delta)} points"
    if low is not None and high is not None:
        span += f", interval {interval(low, high)}"
    if row.name in AGAINST_CHANCE:
        return f"is {rate(candidate)} against {rate(base)} by chance ({span})"
    verb = "rose" if delta > 0 else "fell" if delta < 0 else "stayed"
    return f"{verb} from {rate(base)} to {rate(candidate)} ({span})"
