"""Layers on the way out: what the completion delivers, leaks, or fails to be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding, Span

NGRAM: Final = 8
"""Words in a row that a completion may share with hidden text without it being a leak."""
_WORD: Final = re.compile(r"\w+")


def shared_runs(secret: str, text: str, length: int = NGRAM) -> list[Span]:
    """Stretches of `text` of at least `length` words that stand in `secret` in the same order, merged; case and
    punctuation do not matter."""
    hidden = [word.lower() for word in _WORD.findall(secret)]
    if len(hidden) < length:
        return []
    grams = {tuple(hidden[i : i + length]) for i in range(len(hidden) - length + 1)}
    said = list(_WORD.finditer(text))
    lowered = [match.group().lower() for match in said]
    spans: list[Span] = []
    for i in range(len(said) - length + 1):
        if tuple(lowered[i : i + length]) in grams:
            start, end = said[i].start(), said[i + length - 1].end()
            if spans and start <= spans[-1].end:
                spans[-1] = Span(spans[-1].start, end, "system prompt")
            else:
                spans.append(Span(start, end, "system prompt"))
    return spans


class LeakLayer:
    """The operator's words in the completion: a canary, or a run of words of the system prompt.

    Blocks a canary at once, and runs from the score STOP_AT on: a run of NGRAM words scores 0.5, longer ones more.
    """

    name = "leak"

    def __init__(self, canaries: Sequence[str] = (), clauses: tuple[str, ...] = ("leak",)) -> None:
        self._canaries = tuple(canary for canary in canaries if canary)
        self._clauses = clauses

    def check(self, subject: Subject) -> Finding:
        canaries = [
            Span(match.start(), match.end(), "canary")
            for canary in self._canaries
            for match in re.finditer(re.escape(canary), subject.text)
        ]
        runs = shared_runs(subject.system, subject.text) if subject.system else []
        # What the user wrote is no secret, though the operator may have written it too.
        runs = [run for run in runs if not shared_runs(subject.asked, subject.text[run.start : run.end])]
        if not canaries and not runs:
            return Finding(score=0.0)
        longest = max((len(_WORD.findall(subject.text[run.start : run.end])) for run in runs), default=0)
        score = 1.0 if canaries else 1 - STOP_AT * (NGRAM / longest)
        kinds = ", ".join(dict.fromkeys(span.kind for span in (*canaries, *runs)))
        return Finding("block", score, self._clauses, (*canaries, *runs), kinds)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a completion must be. max_characters: its length. pattern: must match somewhere. forbidden: must not.
    schema: the whole completion must be JSON of this schema. links: the only hosts (and their subdomains) that it may
    link to; an empty tuple allows none."""

    max_characters: int | None = None
    pattern: str | None = None
    forbidden: str | None = None
    schema: Mapping[str, Any] | None = None
    links: tuple[str, ...] | None = None


_LINK: Final = re.compile(r"\b(?:https?|ftp)://(?:[^\s/@]*@)?([^\s/:?#<>\"')\]]+)[^\s<>\"')\]]*", re.I)


class ValidatorsLayer:
    """Blocks a completion that breaks one of the operator's rules."""

    name = "validators"

    def __init__(self, rules: Rules, clauses: tuple[str, ...] = ("validators",)) -> None:
        """Raises UserError for a pattern that is not a regular expression, and when the schema is none."""
        from charter.errors import UserError

        self._rules, self._clauses = rules, clauses
        try:
            self._pattern = re.compile(rules.pattern) if rules.pattern else None
            self._forbidden = re.compile(rules.forbidden) if rules.forbidden else None
        except re.error as error:
            raise UserError(f"validators: {error.pattern!r} is no regular expression ({error}).") from None
        self._schema = _schema(rules.schema) if rules.schema is not None else None

    def check(self, subject: Subject) -> Finding:
        broken = [(reason, span) for reason, span in self._broken(subject.text)]
        if not broken:
            return Finding(score=0.0)
        reasons = "; ".join(dict.fromkeys(reason for reason, _ in broken))
        return Finding("block", 1.0, self._clauses, tuple(span for _, span in broken), reasons)

    def _broken(self, text: str) -> list[tuple[str, Span]]:
        rules, whole = self._rules, Span(0, len(text), "validators")
        out = []
        if rules.max_characters is not None and len(text) > rules.max_characters:
            over = Span(rules.max_characters, len(text), "length")
            out.append((f"{len(text)} characters, at most {rules.max_characters}", over))
        if self._pattern and not self._pattern.search(text):
            out.append(("the required pattern is not there", whole))
        if self._forbidden:
            out += [("a forbidden pattern", Span(*m.span(), "forbidden")) for m in self._forbidden.finditer(text)]
        if rules.links is not None:
            allowed = tuple(host.lower() for host in rules.links)
            for match in _LINK.finditer(text):
                host = match.group(1).lower().rstrip(".")
                if not any(host == good or host.endswith("." + good) for good in allowed):
                    out.append(("a link to another host", Span(*match.span(), "link")))
        if self._schema is not None:
            wrong = _against(self._schema, text)
            out += [(wrong, whole)] if wrong else []
        return out


def _schema(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    from charter.errors import UserError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UserError(f"validators: the JSON schema is none ({error.message}).") from None
    return Draft202012Validator(schema)


def _against(validator: Any, text: str) -> str:
    """What is wrong with the text as JSON of the schema; empty when nothing is."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return "not JSON"
    error = next(iter(validator.iter_errors(value)), None)
    return f"not of the schema at {error.json_path}" if error else ""
