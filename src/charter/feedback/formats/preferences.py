"""Preference pairs: TRL's shapes, hh-rlhf transcripts, UltraFeedback binarised, OpenAI's preference form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charter.errors import UserError
from charter.feedback.formats.source_rows import SourceRow, Unusable
from charter.feedback.formats.turns import conversation, is_transcript, parse_transcript, prompt_of
from charter.records import Conversation, Message, Preference

_NO_ANSWER = "chosen or rejected does not end with an assistant's answer to a prompt"
_ALIASES = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"))


@dataclass(frozen=True, slots=True)
class _Pair:
    prompt: Conversation
    chosen: str
    rejected: str


def preference_of(row: Mapping[str, Any], where: str, key: str) -> Preference:
    """One row as a Preference. `where` names it in errors; `key` is its id unless it has one."""
    return preference(SourceRow(key, where, row))


def preference(row: SourceRow) -> Preference:
    """A row with `chosen` and `rejected` (strings, messages, or transcripts), and a `prompt` unless they hold it.

    Raises UserError for a row that lacks a side, and Unusable for conversations that share no prompt.
    """
    pair = _pair(row)
    return Preference(
        row.id,
        pair.prompt,
        pair.chosen,
        pair.rejected,
        clauses=row.clauses,
        source=row.where,
        strength=row.number("strength", 1.0, 1e-6, 1.0),
        rater=str(row.values.get("rater") or ""),
        chosen_finished=row.flag("chosen_finished"),
        rejected_finished=row.flag("rejected_finished"),
        margin=_margin(row),
        chosen_safe=_safe(row, "chosen_safe"),
        rejected_safe=_safe(row, "rejected_safe"),
        made=row.made,
    )


def _margin(row: SourceRow) -> float | None:
    return None if row.values.get("margin") is None else row.number("margin", 0.0, -1e6, 1e6)


def _safe(row: SourceRow, name: str) -> bool | None:
    return None if row.values.get(name) is None else row.flag(name)


def openai_preference(row: SourceRow) -> Preference:
    """OpenAI's `input: {messages}`, `preferred_output` and `non_preferred_output`."""
    asked = row.values.get("input")
    if not isinstance(asked, Mapping) or not asked.get("messages"):
        raise row.malformed('"input" must hold "messages"')
    sides = {"chosen": row.values.get("preferred_output"), "rejected": row.values.get("non_preferred_output")}
    for name, side in zip(("preferred_output", "non_preferred_output"), sides.values(), strict=True):
        if not side:
            raise row.malformed(f'has no "{name}"')
    kept = {name: row.values[name] for name in ("id", "clauses", "strength") if name in row.values}
    return preference(SourceRow(row.key, row.where, {**kept, "prompt": asked["messages"], **sides}))


def _pair(row: SourceRow) -> _Pair:
    where = row.where
    names = next((names for names in _ALIASES if set(names) & row.columns), _ALIASES[0])
    for name in names:
        if row.values.get(name) in (None, []):
            raise UserError(
                f'{where}: has no "{name}" (its keys: {", ".join(map(str, row.values)) or "none"}). A preference row '
                'needs "chosen" and "rejected", and a "prompt" unless both are whole conversations.'
            )
        if not isinstance(row.values[name], str | list | Mapping):
            kind = type(row.values[name]).__name__
            raise UserError(f'{where}: "{name}" must be a string or a list of messages; got {kind}.')
    chosen, rejected = (row.values[name] for name in names)
    prompt = prompt_of(row)
    if prompt is not None:
        answers = [_answer(side, prompt, where) for side in (chosen, rejected)]
        if answers[0] is not None and answers[1] is not None:
            return _Pair(prompt, answers[0], answers[1])
    if isinstance(chosen, str) and isinstance(rejected, str) and not (is_transcript(chosen) or is_transcript(rejected)):
        return _after_common_beginning(chosen, rejected, where)
    return _where_they_part(_turns(chosen, where), _turns(rejected, where), where)


def _answer(value: Any, prompt: Conversation, where: str) -> str | None:
    """The answer to `prompt`; None when the side is a conversation of its own that goes on after the prompt."""
    if isinstance(value, str):
        return value
    turns = conversation(value, where)
    if turns[-1].role != "assistant":
        raise Unusable(where, _NO_ANSWER)
    before = turns[:-1]
    return turns[-1].content if not before or prompt[-len(before) :] == before else None


def _turns(value: Any, where: str) -> Conversation:
    turns = parse_transcript(value, where) if isinstance(value, str) else conversation(value, where)
    if turns[-1].role != "assistant" or len(turns) < 2:
        raise Unusable(where, _NO_ANSWER)
    return turns


def _where_they_part(chosen: Conversation, rejected: Conversation, where: str) -> _Pair:
    shared = len(chosen) - 1
    if chosen[:-1] != rejected[:-1]:
        # hh-rlhf has rows whose conversations part before the last turn: no one prompt belongs to both.
        same = [ours == theirs for ours, theirs in zip(chosen, rejected, strict=False)]
        shared = same.index(False) if False in same else len(same)
    parted = chosen[shared : shared + 1] + rejected[shared : shared + 1]
    if shared == 0 or [turn.role for turn in parted] != ["assistant", "assistant"]:
        raise Unusable(
            where,
            "chosen and rejected share no prompt that both answer",
            "Give both the same conversation so far.",
        )
    return _Pair(chosen[:shared], parted[0].content, parted[1].content)


def _after_common_beginning(chosen: str, rejected: str, where: str) -> _Pair:
    """TRL's standard form with an implicit prompt: what both texts begin with, up to a whole word, is the prompt."""
    same = [a == b for a, b in zip(chosen, rejected, strict=False)]
    common = chosen[: same.index(False) if False in same else len(same)]
    end = max(common.rfind(" "), common.rfind("\n"))
    if not common[: max(end, 0)].strip():
        raise UserError(
            f"{where}: chosen and rejected are plain strings without a prompt, begin with no word in common, and are "
            'no `Human:`/`Assistant:` transcripts. Add the "prompt".'
        )
    return _Pair((Message("user", chosen[:end]),), chosen[end:], rejected[end:])
