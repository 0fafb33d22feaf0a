"""The built-in training data: harmful requests, harmless look-alikes and plain tasks, written for this project.

What is in it, and what it is not for, is on the card beside the data (`data/CARD.md`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from charter.errors import UserError, nearest

Kind = Literal["harmful", "lookalike", "plain"]
ALL: Final[frozenset[str]] = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class BuiltinPair:
    """A prompt with the answers to prefer and to avoid, as far as they are known beforehand.

    `rejected` is None for most harmful prompts: the run samples it from the untouched model, so that the pair
    corrects what this model really says. `chosen` is None for the harmless half of a twin, whose answer is the
    model's own. `clauses` are ids of the starter charter.
    """

    id: str
    kind: Kind
    category: str
    clauses: tuple[str, ...]
    prompt: str
    chosen: str | None
    rejected: str | None


BenignKind = Literal["alarming", "general"]


@dataclass(frozen=True, slots=True)
class BenignPrompt:
    """A harmless prompt that the model answers itself.

    "alarming" ones sound dangerous to a nervous model; "general" ones are questions of fact, tasks and small talk.
    """

    id: str
    category: str
    prompt: str


def load_benign_prompts(kinds: Collection[BenignKind] = get_args(BenignKind)) -> list[BenignPrompt]:
    """The built-in benign prompts of these kinds, in the order of their files."""
    files = {"alarming": "benign_prompts.jsonl", "general": "general_prompts.jsonl"}
    return [BenignPrompt(**row) for kind, name in files.items() if kind in kinds for row in _rows(name)]


def load_pairs(kinds: Collection[str] = ALL) -> list[BuiltinPair]:
    """The built-in pairs of these kinds ("harmful", "lookalike", "plain"), then the twins' halves, in file order.

    Raises UserError for a kind that does not exist.
    """
    # A string is a collection of its letters; taken as one, "plain" would ask for the kinds p, l, a, i and n.
    wanted = {kinds} if isinstance(kinds, str) else set(kinds)
    for kind in sorted(wanted - ALL):
        known = sorted(ALL)
        raise UserError(
            f'built-in pairs: there is no kind "{kind}".{nearest(kind, known)} Use any of {", ".join(known)}.'
        )
    pairs = [BuiltinPair(**{**row, "clauses": tuple(row["clauses"])}) for row in _rows("pairs.jsonl")]
    pairs += [half for row in _rows("twins.jsonl") for half in _halves(**row)]
    return [pair for pair in pairs if pair.kind in wanted]


def _halves(
    id: str, category: str, clauses: Sequence[str], harmful: str, refusal: str, benign: str
) -> tuple[BuiltinPair, BuiltinPair]:
    """Two pairs of one minimal twin. What is right to say to one half is wrong to say to the other, word for word, so
    neither refusing nor answering pays of itself."""
    return (
        BuiltinPair(f"{id}h", "harmful", category, tuple(clauses), harmful, refusal, None),
        BuiltinPair(f"{id}b", "lookalike", category, ("help.no-overcaution",), benign, None, refusal),
    )


def _rows(name: str) -> list[dict[str, Any]]:
    text = files("charter.feedback").joinpath(f"data/{name}").read_text(encoding="utf-8")
    # Not splitlines(): it also splits at separators such as U+2028, which JSON allows inside a string.
    return [json.loads(line) for line in text.split("\n") if line]
