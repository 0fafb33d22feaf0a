"""Prompts alone, from any format: what methods that sample their own completions read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from charter.errors import UserError
from charter.feedback.formats import demonstrations
from charter.feedback.formats.detect import Format, Record, detect
from charter.feedback.formats.files import read_rows
from charter.feedback.formats.source_rows import SourceRow, Unusable
from charter.feedback.formats.turns import conversation, prompt_of
from charter.records import Conversation, Prompt


def read_prompts(source: str, split: str = "train") -> tuple[list[Prompt], Counter[str]]:
    """(the distinct prompts of a file, folder or hub dataset; what is left out, by reason).

    Of rows with completions, their prompts; of a conversation, what comes before a last assistant's turn.
    Raises UserError as `load` does, and when no row can be used.
    """
    rows = read_rows(source, split)
    format_ = detect(rows, source)
    dropped: Counter[str] = Counter()
    found: list[Prompt] = []
    for row in rows:
        try:
            found += [Prompt(row.id, turns, row.clauses, row.where) for turns in _prompts(row, format_)]
        except Unusable as unusable:
            dropped[unusable.reason] += 1
    if not found:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in dropped.items())
        raise UserError(f"{source}: none of its {len(rows)} rows can be used ({reasons}).")
    prompts, repeated = distinct_prompts(found)
    return prompts, dropped + repeated


def distinct_prompts(found: Iterable[Prompt | Record]) -> tuple[list[Prompt], Counter[str]]:
    """(each prompt once, as its first row has it, under an id of its own; how many were there before)."""
    by_turns: dict[Conversation, Prompt] = {}
    taken: set[str] = set()
    repeated = 0
    for row in found:
        if row.prompt in by_turns:
            repeated += 1
            continue
        one = Prompt(row.id, row.prompt, row.clauses, row.source)
        if one.id in taken:
            one = replace(one, id=f"{one.id}@{len(by_turns)}")
        taken.add(one.id)
        by_turns[row.prompt] = one
    return list(by_turns.values()), +Counter({"same prompt as an earlier row": repeated})


def _prompts(row: SourceRow, format_: Format) -> Sequence[Conversation]:
    if format_.kind is None or format_.read is demonstrations.chat:
        return [_alone(row)]
    read = format_.read(row)
    return [record.prompt for record in (read if isinstance(read, list | tuple) else (read,))]


def _alone(row: SourceRow) -> Conversation:
    """The prompt of a row that may have nothing else. Raises Unusable where there is none."""
    value = row.values.get("messages") or row.values.get("conversations")
    if row.values.get("prompt") is None and value is not None:
        turns = conversation(value, row.where)
        asked = turns[:-1] if turns[-1].role == "assistant" else turns
    else:
        asked = prompt_of(row) or ()
    if not any(turn.role == "user" for turn in asked):
        raise Unusable(row.where, "has no user's turn to answer")
    return asked
