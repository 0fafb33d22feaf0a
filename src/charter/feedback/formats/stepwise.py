"""Completions in labelled steps: TRL's stepwise supervision (PRM800K, Math-Shepherd)."""

from __future__ import annotations

from typing import Any

from charter.feedback.formats.source_rows import SourceRow, Unusable, as_number
from charter.feedback.formats.turns import prompt_of
from charter.records import Stepwise


def stepwise(row: SourceRow) -> Stepwise:
    """A prompt, a list of steps in `completions`, and `labels`, one a step: true or false, or a number."""
    prompt = prompt_of(row)
    if prompt is None:
        raise row.malformed("has no prompt, or an empty one")
    steps, labels = row.values.get("completions"), row.values.get("labels")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise row.malformed(f'"completions" must be a list of steps, each a text; got {str(steps)[:60]!r}')
    if not isinstance(labels, list) or len(labels) != len(steps):
        count = len(labels) if isinstance(labels, list) else "no"
        raise row.malformed(f'has {len(steps)} steps in "completions" and {count} "labels"; each step needs one')
    if not steps:
        raise Unusable(row.where, "has no steps")
    numbers = tuple(_label(label, number, row) for number, label in enumerate(labels, 1))
    return Stepwise(row.id, prompt, tuple(steps), numbers, row.clauses, row.where)


def _label(value: Any, number: int, row: SourceRow) -> float:
    if isinstance(value, bool):
        return float(value)
    found = as_number(value)
    if found is None:
        raise row.malformed(f"the label of step {number} must be true, false or a number; got {str(value)[:60]!r}")
    return found
