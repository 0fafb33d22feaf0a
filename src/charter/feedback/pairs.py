"""The built-in training data: harmful requests, harmless look-alikes and plain tasks, written for this project.

What is in it, and what it is not for, is on the card beside the data (`data/CARD.md`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from charter.errors import UserError, nearest

Kind = Literal["harmful", "lookalike", "plain"]
ALL: Final[frozenset[str]] = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class BuiltinPair:
    """A prompt with the answer to prefer and, where it is known beforehand, the one to avoid.

    `rejected` is None for most harmful prompts: the run samples it from the untouched model, so that the pair
    corrects what this model really says. `clauses` are ids of the starter charter.
    """

    id: str
    kind: Kind
    category: str
    clauses: tuple[str, ...]
    prompt: str
    chosen: str
    rejected: str | None


@dataclass(frozen=True, slots=True)
class BenignPrompt:
    """A harmless prompt that a nervous model would take for a dangerous one; answered by the model itself."""

    id: str
    category: str
    prompt: str


def load_benign_prompts() -> list[BenignPrompt]:
    """The built-in benign prompts, in the order of the file."""
    return [BenignPrompt(**row) for row in _rows("benign_prompts.jsonl")]


def load_pairs(kinds: Collection[str] = ALL) -> list[BuiltinPair]:
    """The built-in pairs of these kinds ("harmful", "lookalike", "plain"), in the order of the file.

    Raises UserError for a kind that does not exist.
    """
    # A string is a collection of its letters; taken as one, "plain" would ask for the kinds p, l, a, i and n.
    wanted = {kinds} if isinstance(kinds, str) else set(kinds)
    for kind in sorted(wanted - ALL):
        known = sorted(ALL)
        raise UserError(
            f'built-in pairs: there is no kind "{kind}".{nearest(kind, known)} Use any of {", ".join(known)}.'
        )
    rows = _rows("pairs.jsonl")
    return [BuiltinPair(**{**row, "clauses": tuple(row["clauses"])}) for row in rows if row["kind"] in wanted]


def _rows(name: str) -> list[dict[str, Any]]:
    text = files("charter.feedback").joinpath(f"data/{name}").read_text(encoding="utf-8")
    # Not splitlines(): it also splits at separators such as U+2028, which JSON allows inside a string.
    return [json.loads(line) for line in text.split("\n") if line]
