"""Which format a file is in: decided by the columns of all its rows, and every row has to agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from charter.errors import UserError
from charter.feedback.formats import demonstrations, preferences, ratings, stepwise
from charter.feedback.formats.source_rows import SourceRow
from charter.feedback.formats.turns import is_transcript
from charter.records import Demonstration, Preference, Rated, Scored, Stepwise

Kind = Literal["demonstrations", "preferences", "ratings", "scored", "stepwise"]
Record = Demonstration | Preference | Rated | Scored | Stepwise
Columns = frozenset[str]


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name for people, which columns tell it, and what a row of it becomes.

    `kind` is None where no training method here reads what the rows hold.
    """

    name: str
    kind: Kind | None
    matches: Callable[[Columns], bool]
    read: Callable[[SourceRow], Record | Sequence[Record]]


def _has(*names: str) -> Callable[[Columns], bool]:
    return lambda columns: columns.issuperset(names)


def _any(columns: Columns, *names: str) -> bool:
    return not columns.isdisjoint(names)


def _answered(columns: Columns) -> bool:
    return _any(columns, "prompt", "instruction", "question") and _any(columns, *demonstrations.ANSWERS)


def _verdict(columns: Columns) -> bool:
    return (_answered(columns) or "messages" in columns) and _any(columns, *ratings.VERDICTS)


def _nothing(_row: SourceRow) -> Sequence[Record]:
    return ()


FORMATS: Final[tuple[Format, ...]] = (
    Format(
        "OpenAI preference",
        "preferences",
        lambda columns: _any(columns, "preferred_output", "non_preferred_output"),
        preferences.openai_preference,
    ),
    # One side is enough to tell the format: a row that lacks the other is then named, not taken for something else.
    Format(
        "preference pairs",
        "preferences",
        lambda columns: _any(columns, "chosen", "rejected", "chosen_messages", "rejected_messages"),
        preferences.preference,
    ),
    Format(
        "stepwise supervision",
        "stepwise",
        _has("completions", "labels"),
        stepwise.stepwise,
    ),
    Format("UltraFeedback completions", "scored", _has("instruction", "completions"), ratings.ultrafeedback),
    Format("unpaired preference", "ratings", _verdict, ratings.rated),
    Format(
        "scored completions",
        "scored",
        lambda columns: _answered(columns) and _any(columns, "scores", *ratings.SCORES),
        ratings.scored,
    ),
    Format(
        "Alpaca instructions",
        "demonstrations",
        lambda columns: "prompt" not in columns and "instruction" in columns and _answered(columns),
        demonstrations.answer,
    ),
    Format("prompt and completion", "demonstrations", _answered, demonstrations.answer),
    Format("chat messages", "demonstrations", _has("messages"), demonstrations.chat),
    Format("ShareGPT conversations", "demonstrations", _has("conversations"), demonstrations.chat),
    Format("language modelling text", "demonstrations", _has("text"), demonstrations.text),
    Format("prompts only", None, lambda columns: _any(columns, "prompt", "instruction", "question"), _nothing),
)
ACCEPTED: Final = (
    '"prompt" with "chosen" and "rejected"; "prompt" with "completion" (and "label", or scores); "messages"; '
    '"conversations"; "instruction" with "output"; "prompt" with "completions" (steps) and "labels"'
)

_TELLING = (
    "chosen", "chosen_messages", "preferred_output", "completions", *demonstrations.ANSWERS, "messages",
    "conversations", "text", "prompt",
)  # fmt: skip


def format_of(columns: Columns) -> Format | None:
    """The first format that these columns tell."""
    return next((format_ for format_ in FORMATS if format_.matches(columns)), None)


def detect(rows: Sequence[SourceRow], source: str) -> Format:
    """The format of a file. Raises UserError when it is none, or when rows are in different formats."""
    columns: Columns = frozenset().union(*(row.columns for row in rows))
    found = format_of(columns)
    if found is None:
        names = ", ".join(sorted(map(str, columns))) or "none"
        raise UserError(f"{source}: is in no format known here (its columns: {names}). Give each row {ACCEPTED}.")
    own = [(row, format_of(row.columns)) for row in rows]
    # A row that lacks what makes a format is malformed, and its reader says what it lacks.
    telling = [(row, format_) for row, format_ in own if format_ is not None and format_.kind is not None]
    first = next((row for row, format_ in telling if format_ is found), None)
    other = next(((row, format_) for row, format_ in telling if format_ is not found), None)
    if first is not None and other is not None:
        raise UserError(
            f"{source}: mixes formats: {_place(first)} is {_described(first, found)}, {_place(other[0])} is "
            f"{_described(*other)}. One file holds one format: split it, or give every row the same columns."
        )
    return found


def style_of(rows: Sequence[SourceRow]) -> str:
    """How the completions are written: "strings", "messages" or "transcripts", joined where a file has several."""
    found = set()
    for row in rows:
        told = next((row.values[name] for name in _TELLING if row.values.get(name)), None)
        if told is not None:
            found.add(_style(told))
    return " and ".join(sorted(found))


def _style(value: Any) -> str:
    if not isinstance(value, str):
        shown = value[0] if isinstance(value, list) and value else value
        told = isinstance(shown, str) or (isinstance(shown, Mapping) and "response" in shown)
        return "strings" if told else "messages"
    return "transcripts" if is_transcript(value) else "strings"


def _place(row: SourceRow) -> str:
    return row.where.rpartition(", ")[2]


def _described(row: SourceRow, format_: Format) -> str:
    return f'"{format_.name}" (columns {", ".join(sorted(map(str, row.columns)))})'
