"""Rows in, verdicts out: what `charter guard score` does with each row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from charter.errors import UserError
from charter.guard.stack import Stack
from charter.guard.verdicts import Decision, Side
from charter.records import Conversation, conversation_of

RESULT: Final = ("time", "verdict", "score", "clauses", "spans", "layers", "unscored")
TEXTS: Final = ("prompt", "messages", "completion", "context")


def checked(stack: Stack, side: Side, row: Mapping[str, Any], where: str) -> Decision | str:
    """The stack's decision on a row, or why it cannot be scored. Raises UserError for a row of the wrong shape."""
    context = context_of(row, where)
    if side == "output":
        completion = row.get("completion")
        if completion is not None and not isinstance(completion, str):
            raise UserError(f'{where}: "completion" must be a string; got {type(completion).__name__}.')
        if completion is None:
            return "no completion"
        if not completion.strip():
            return "empty completion"
        return stack.check_output(_prompt(row, where), completion, context)
    prompt = _prompt(row, where)
    if not any(message.content.strip() for message in prompt):
        return "empty prompt"
    return stack.check_input(prompt, context)


def _prompt(row: Mapping[str, Any], where: str) -> Conversation:
    """The row's conversation; an empty one for a prompt that is there but has no text."""
    if row.get("messages") is None and isinstance(row.get("prompt"), str) and not row["prompt"].strip():
        return ()
    return conversation_of(row, where)


def context_of(row: Mapping[str, Any], where: str) -> str:
    """The row's context: a string, or a list of strings or of objects with `text` or `content`; empty when absent."""
    value = row.get("context")
    if value is None or isinstance(value, str):
        return value or ""
    parts = []
    for item in value if isinstance(value, list) else [value]:
        text = item.get("text", item.get("content")) if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise UserError(f'{where}: "context" must be a string or a list of strings; got {str(item)[:60]!r}.')
        parts.append(text)
    return "\n\n".join(parts)


def score_rows(
    stack: Stack,
    side: Side,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    keep_text: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """One result a row, in order. Fields that are not ours pass through; texts only with `keep_text`.

    rows: (where the row stands, the row). Raises UserError naming the place of a row of the wrong shape, before any
    text is checked.
    """
    for where, row in rows:
        context_of(row, where)
        if side == "input" or row.get("completion"):
            _prompt(row, where)
    results = []
    for number, (where, row) in enumerate(rows, 1):
        dropped = RESULT if keep_text else (*RESULT, *TEXTS)
        result = {name: value for name, value in row.items() if name not in dropped}
        # A stream that is replayed keeps the times it was recorded at.
        result["time"] = row.get("time") or datetime.fromtimestamp(time.time(), UTC).isoformat()
        found = checked(stack, side, row, where)
        result |= {"unscored": found} if isinstance(found, str) else found.as_row()
        results.append(result)
        progress(number)
    return results
