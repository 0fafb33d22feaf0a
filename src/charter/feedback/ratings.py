"""Single completions found good or bad, as Rated records.

Understood, per row: `prompt` (a string or messages), `completion` (a string or messages) and `label` (true for
desirable), which is TRL's unpaired shape; or a pair in any of the shapes of `formats.py`, whose chosen side is then
desirable and whose rejected side is not. One file holds one shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from charter.errors import UserError
from charter.feedback.formats import answer_to, preference_of, source_rows
from charter.records import Rated, conversation_of, rated_sides


def read_ratings(source: str, split: str = "train") -> list[Rated]:
    """Rated completions from a JSONL file or a hub dataset id; ids that occur twice are told apart by their row.

    Raises UserError naming file and line for a missing file, an empty one, a row of no known shape, or a file that
    mixes pairs with single completions.
    """
    rated: dict[str, Rated] = {}
    paired: bool | None = None
    for key, where, row in source_rows(source, split):
        is_pair = "chosen" in row or "rejected" in row
        if paired is not None and is_pair != paired:
            raise UserError(f"{where}: the file mixes pairs with single completions. Split it into one file of each.")
        paired = is_pair
        for one in rated_sides(preference_of(row, where, key)) if is_pair else (rated_of(row, where, key),):
            unique = one if one.id not in rated else replace(one, id=f"{one.id}@{key}")
            rated[unique.id] = unique
    if not rated:
        raise UserError(f"{source}: holds no rows. Give a file with one prompt, completion and label a line.")
    return list(rated.values())


def rated_of(row: Mapping[str, Any], where: str, key: str) -> Rated:
    """One row as a Rated. `where` names it in errors; `key` is its id unless it has one."""
    completion, label = row.get("completion"), row.get("label")
    if not isinstance(completion, str | list) or not isinstance(label, bool):
        raise UserError(
            f'{where}: a rated row needs "prompt", "completion" (a string or a list of messages) and "label" (true or '
            f'false); its keys: {", ".join(map(str, row)) or "none"}. Pairs with "chosen" and "rejected" are read too.'
        )
    prompt = conversation_of(row, where)
    answer = answer_to(completion, prompt, where)
    if answer is None:
        raise UserError(f"{where}: the completion's messages do not go on from the prompt's. Give the answer alone.")
    identity = str(row["id"]) if row.get("id") is not None else key
    return Rated(identity, prompt, answer, label, source=where)
