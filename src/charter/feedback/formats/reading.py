"""Files, folders and hub datasets as records: detect the format, read every row, make the wanted kind of record."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from charter.errors import UserError
from charter.feedback.formats.convert import GIVES, as_kind
from charter.feedback.formats.detect import Format, Kind, Record, detect, style_of
from charter.feedback.formats.files import read_rows
from charter.feedback.formats.source_rows import SourceRow, Unusable
from charter.records import Demonstration, Preference, Rated, Scored, Stepwise

log = logging.getLogger(__name__)
_WORDS: Final[dict[Kind, str]] = {
    "demonstrations": "demonstrations (a prompt with a completion to imitate)",
    "preferences": "preference pairs (a prompt with a chosen and a rejected completion)",
    "ratings": "unpaired feedback (a prompt, a completion, and whether it is desirable)",
    "scored": "scored completions",
    "stepwise": "completions in labelled steps",
}


@dataclass(frozen=True)
class Loaded:
    """What a source holds. `records` are of the format's own kind; `dropped` counts unusable rows by reason."""

    source: str
    format: Format
    style: str
    rows: int
    records: list[Record]
    dropped: Counter[str]
    first_dropped: str

    @property
    def gives(self) -> tuple[Kind, ...]:
        """The kinds of record it can be read as, its own first."""
        return GIVES[self.format.kind] if self.format.kind else ()

    def as_kind(self, wanted: Kind) -> tuple[list[Any], Counter[str]]:
        """(its records as `wanted`, rows and completions left out, by reason).

        Raises UserError when the format cannot give them, or no row can be used.
        """
        kind = self.format.kind
        if kind is None or wanted not in self.gives:
            holds = f", which give {_WORDS[kind]}" if kind else ""
            raise UserError(
                f'{self.source}: holds {self.rows} rows of the format "{self.format.name}"{holds}, not '
                f"{_WORDS[wanted]}. Use a method that reads what it holds, or another file."
            )
        found, left = as_kind(self.records, kind, wanted)
        dropped = self.dropped + left
        if not found:
            reasons = "; ".join(f"{reason}: {count}" for reason, count in dropped.items())
            first = f" First: {self.first_dropped}" if self.first_dropped else ""
            if kind == "scored" and wanted == "preferences":
                first += (
                    " A pair takes two completions of one prompt with different scores: give several a prompt, or "
                    "train `reward_pointwise`, which learns from single scores."
                )
            raise UserError(f"{self.source}: none of its {self.rows} rows can be used ({reasons}).{first}")
        return found, dropped


def load(source: str, split: str = "train") -> Loaded:
    """Read a source in whatever format it is; ids that occur twice are told apart by their row.

    Raises UserError naming file and row for a missing or empty file, rows of different formats, or a malformed row.
    """
    rows = read_rows(source, split)
    format_ = detect(rows, source)
    records: dict[str, Record] = {}
    dropped: Counter[str] = Counter()
    first_dropped = ""
    for row in rows:
        try:
            read = format_.read(row)
        except Unusable as unusable:
            dropped[unusable.reason] += 1
            first_dropped = first_dropped or str(unusable)
            continue
        for record in read if isinstance(read, list | tuple) else (read,):
            # Several rows of one prompt often share its id; training keeps what it knows of a row by id.
            unique = replace(record, id=f"{record.id}@{row.key}") if record.id in records else record
            records[unique.id] = _encodable(unique, row)
    return Loaded(source, format_, style_of(rows), len(rows), list(records.values()), dropped, first_dropped)


def _encodable(record: Record, row: SourceRow) -> Record:
    """JSON can hold half of a surrogate pair, which no tokenizer and no file takes: better said here than there."""
    texts = [turn.content for turn in record.prompt]
    if isinstance(record, Preference):
        texts += [record.chosen, record.rejected]
    else:
        texts += record.steps if isinstance(record, Stepwise) else [record.completion]
    try:
        "".join([record.id, *texts]).encode()
    except UnicodeEncodeError:
        raise row.malformed("holds half a character (an unpaired surrogate). Remove it or write it whole") from None
    return record


def read_preferences(source: str, split: str = "train", dropped: Counter[str] | None = None) -> list[Preference]:
    """Preference pairs; from scored completions, the best of each prompt against the worst.

    What is left out is added to `dropped`, and logged without one. Raises UserError as `load` does, and when the
    source holds no pairs. The same holds for the four below.
    """
    return _read(source, split, "preferences", dropped)


def read_demonstrations(source: str, split: str = "train", dropped: Counter[str] | None = None) -> list[Demonstration]:
    """Completions to imitate: of pairs the chosen side, of ratings the desirable ones, of scores each prompt's best.

    Of a conversation, the last assistant turn; earlier ones are part of its prompt.
    """
    return _read(source, split, "demonstrations", dropped)


def read_rated(source: str, split: str = "train", dropped: Counter[str] | None = None) -> list[Rated]:
    """Completions marked desirable or not; both sides of pairs as well."""
    return _read(source, split, "ratings", dropped)


def read_scored(source: str, split: str = "train", dropped: Counter[str] | None = None) -> list[Scored]:
    """Completions with their scores."""
    return _read(source, split, "scored", dropped)


def read_stepwise(source: str, split: str = "train", dropped: Counter[str] | None = None) -> list[Stepwise]:
    """Completions in labelled steps."""
    return _read(source, split, "stepwise", dropped)


def _read(source: str, split: str, kind: Kind, dropped: Counter[str] | None) -> list[Any]:
    found, left = load(source, split).as_kind(kind)
    if dropped is not None:
        dropped.update(left)
    elif left:
        log.warning("%s: left out %s", source, "; ".join(f"{reason}: {count}" for reason, count in left.items()))
    return found
