"""Completions to imitate: messages, ShareGPT, prompt and completion, Alpaca, transcripts in one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from charter.feedback.formats.source_rows import SourceRow, Unusable
from charter.feedback.formats.turns import (
    conversation,
    finished,
    is_transcript,
    parse_transcript,
    prompt_of,
    weighted,
)
from charter.records import Conversation, Demonstration

ANSWERS = ("completion", "response", "output", "answer")
"""Columns that hold the answer to a prompt, the first that is there."""


def chat(row: SourceRow) -> Demonstration:
    """`messages` (TRL, OpenAI) or `conversations` (ShareGPT): the last assistant turn, what comes before as prompt.

    With weights on messages it is the last turn that has one above 0; earlier ones keep theirs.
    """
    value = row.values.get("messages") or row.values.get("conversations")
    turns = conversation(value, row.where)
    finished(turns, row.where)
    trained, weights = weighted(value, turns, row.where)
    prompt, completion = finished(trained, row.where)
    made = _demonstration(row, prompt, completion, weights[-1] if weights else 1.0)
    if len(trained) < len(turns):
        made = replace(made, finished=True)
    if not any(weights[:-1]):
        return made
    scale = row.number("weight", 1.0, 0.0, 1e6)
    return replace(made, earlier_weights=tuple(scale * weight for weight in weights[:-1]))


def answer(row: SourceRow) -> Demonstration:
    """A prompt with `completion` or `response`, or Alpaca's instruction (and input) with `output`."""
    prompt, completion = prompt_and_completion(row)
    return _demonstration(row, prompt, completion, 1.0)


def text(row: SourceRow) -> Demonstration:
    """One text (TRL's language modelling): a transcript can be split; plain text has no prompt and is Unusable."""
    value = row.values["text"]
    if not is_transcript(value):
        raise Unusable(row.where, "plain text, without a prompt and an answer")
    prompt, completion = finished(parse_transcript(value, row.where), row.where)
    return _demonstration(row, prompt, completion, 1.0)


def prompt_and_completion(row: SourceRow) -> tuple[Conversation, str]:
    """(prompt, completion) of a row that has both. Raises UserError when one is missing or of the wrong type."""
    name = next((name for name in ANSWERS if row.values.get(name) is not None), None)
    if name is None:
        raise row.malformed(
            f'has no "completion", "response" or "output" (its keys: {", ".join(map(str, row.values))})'
        )
    prompt = prompt_of(row)
    if prompt is None:
        raise row.malformed(f"has no prompt, or an empty one (its keys: {', '.join(map(str, row.values))})")
    return prompt, _completion(row.values[name], name, prompt, row)


def _completion(value: Any, name: str, prompt: Conversation, row: SourceRow) -> str:
    if isinstance(value, str):
        return value
    turns = conversation(value, row.where)
    before = turns[:-1]
    if turns[-1].role != "assistant" or (before and prompt[-len(before) :] != before):
        raise row.malformed(f'"{name}" must be a string or one message of the assistant, after the prompt\'s')
    return turns[-1].content


def _demonstration(row: SourceRow, prompt: Conversation, completion: str, weight: float) -> Demonstration:
    return Demonstration(
        row.id,
        prompt,
        completion,
        clauses=row.clauses,
        source=row.where,
        weight=weight * row.number("weight", 1.0, 0.0, 1e6),
        finished=row.flag("finished"),
        made=row.made,
    )
