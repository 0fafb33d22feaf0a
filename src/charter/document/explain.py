"""Turns what pydantic found wrong with a charter file into one paragraph with a line and the nearest right name."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from charter.document.marked import Location, Marked
from charter.document.types import CharterFile, ClausePatch, Frameworks, Override, When
from charter.errors import nearest

_MODELS: Final[dict[str, type[BaseModel]]] = {
    "": CharterFile,
    "clauses": ClausePatch,
    "frameworks": Frameworks,
    "overrides": Override,
    "when": When,
}
_PATTERNS: Final = {
    "id": "an id is words of small letters and digits joined by . or -, such as harm.violence",
    "test": "a test is a suite or suite/slice, such as harmful_requests/weapons",
}


def explain(error: ValidationError, marked: Marked) -> str:
    """One paragraph: the first thing wrong by line, and where the others are."""
    found = sorted(error.errors(include_url=False), key=lambda one: marked.line(one["loc"]))
    first, rest = found[0], found[1:]
    what = " ".join((_where(first["loc"], marked) + _what(first)).split())
    text = f"{marked.path}, line {marked.line(first['loc'])}: {what}"
    lines = sorted({marked.line(other["loc"]) for other in rest})
    if lines:
        noun = "line" if len(lines) == 1 else "lines"
        text += f" (Also wrong: {noun} {', '.join(str(line) for line in lines)}.)"
    return text


def _where(loc: Location, marked: Marked) -> str:
    """Such as "clause harm.violence, severity: ": the innermost clause, by its id, and the path within it."""
    prefix, value = "", marked.value
    inner: list[str] = []
    for step in loc:
        inside_list = isinstance(step, int) and inner and inner[-1] == "clauses"
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            value = None
        if inside_list:
            id = value.get("id") if isinstance(value, dict) else None
            prefix, inner = f"clause {id if isinstance(id, str) else f'number {int(step) + 1}'}", []
        elif isinstance(step, str):
            inner.append(step)
        elif inner:
            inner[-1] += f"[{step}]"
    parts = [prefix, ".".join(inner)]
    return ", ".join(part for part in parts if part) + ": " if any(parts) else ""


def _what(error: ErrorDetails) -> str:
    """What is wrong and what to do, without saying where."""
    loc, value, ctx = error["loc"], error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            known = list(_MODELS[next((s for s in reversed(loc[:-1]) if isinstance(s, str)), "")].model_fields)
            key = _short(loc[-1])
            return f'unknown key "{key}".{nearest(key, known)} The keys here are {", ".join(known)}.'
        case "missing":
            return f'needs "{loc[-1]}". Add the line `{loc[-1]}:`.'
        case "literal_error":
            known = re.findall(r"'([^']*)'", str(ctx["expected"])) or [str(ctx["expected"])]
            if loc == ("charter",):
                return f"format {_short(value)} is not known; this program reads `charter: 1`."
            return f'"{_short(value)}" is not known.{nearest(_short(value), known)} Choose from {", ".join(known)}.'
        case "string_too_short":
            return "is empty. Write some text or remove the line."
        case "string_pattern_mismatch":
            field = next((s for s in reversed(loc) if isinstance(s, str)), "")
            return f'"{_short(value)}" is not well formed: {_PATTERNS[field]}.'
        case "value_error":
            return str(ctx["error"])
        case _:
            return _wrong_type(error["type"], value, error["msg"])


def _wrong_type(type_: str, value: Any, message: str) -> str:
    got = "nothing" if value is None else f"{type(value).__name__} {_short(value)}"
    match type_:
        case "string_type":
            quotes = f' Put it in quotes: "{value}".' if isinstance(value, (int, float, bool)) else ""
            quotes = quotes or (" Put it in quotes." if type(value).__name__ in ("date", "datetime") else "")
            return f"must be text, got {got}.{quotes}"
        case "tuple_type":
            return f"must be a list, got {got}. Write it as [a, b] or one `- item` a line."
        case "model_type":
            return f"must be a mapping of keys to values, got {got}."
        case "too_short":
            return "is an empty list. Add an item or remove it."
        case _:
            return f"{message}, got {got}."


def _short(value: object) -> str:
    """A value from the file as it can stand in a message."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
