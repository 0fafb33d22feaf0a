"""Traffic as columns: the rows that a guard wrote, checked, with what is missing left missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from charter.errors import UserError, nearest
from charter.records import conversation_of

Floats = npt.NDArray[np.float64]
Located = tuple[str, Mapping[str, Any]]
"""(where the row stands, the row)"""

VERDICTS: Final = ("allow", "redact", "block", "escalate", "error")
STOPPED: Final = frozenset(("block", "escalate", "error"))
CALLER_KEYS: Final = ("caller", "user", "subject")
EMBEDDING_KEY: Final = "embedding"


@dataclass(frozen=True)
class Traffic:
    """N rows as columns. None, or not a number in `scores_N`, is what a row did not say.

    prompts: what was asked (the last user message).  clauses: of each row, those its verdict names.
    layers: of each row, layer name to score.  failed: whether a layer failed, or the whole verdict is an error.
    refused: where a judge, or the row itself, says so.
    embeddings: of the prompt, as stored with the verdict.
    """

    ids: tuple[Any, ...]
    times: tuple[Any, ...]
    callers: tuple[str | None, ...]
    prompts: tuple[str | None, ...]
    completions: tuple[str | None, ...]
    scores_N: Floats = field(repr=False)
    verdicts: tuple[str | None, ...]
    clauses: tuple[tuple[str, ...] | None, ...]
    layers: tuple[Mapping[str, float], ...]
    failed: tuple[bool | None, ...]
    languages: tuple[str | None, ...]
    refused: tuple[bool | None, ...]
    embeddings: tuple[tuple[float, ...] | None, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)


def traffic_of(rows: Sequence[Located]) -> Traffic:
    """Columns of rows as `guard score --keep-text` writes them. Every field but `id` may be absent or null.

    Raises UserError naming the row's place for a field that is there and is not what it should be.
    """
    found = [_parsed(row, where) for where, row in rows]

    def column(name: str) -> tuple[Any, ...]:
        return tuple(one[name] for one in found)

    scores_N = np.array([math.nan if one["score"] is None else one["score"] for one in found], dtype=np.float64)
    names = ("ids", "times", "callers", "prompts", "completions", "verdicts", "clauses", "layers", "languages")
    columns = {name: column(name) for name in (*names, "failed", "refused", "embeddings")}
    return Traffic(scores_N=scores_N, **columns)


def stopped(verdict: str | None) -> bool | None:
    """Whether a verdict stops the text; redacting does not."""
    return None if verdict is None else verdict in STOPPED


def _parsed(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    unscored = row.get("unscored")
    return {
        "ids": row["id"],
        "times": row.get("time"),
        "callers": next((str(row[key]) for key in CALLER_KEYS if row.get(key) is not None), None),
        "prompts": _prompt(row, where),
        "completions": _text(row, "completion", where),
        "score": None if unscored else _share(row.get("score"), "score", where),
        "verdicts": None if unscored else _verdict(row.get("verdict"), where),
        "clauses": _clauses(row, where),
        "layers": _layers(row.get("layers"), where),
        "failed": _failed(row),
        "languages": _text(row, "language", where),
        "refused": _refused(row),
        "embeddings": _embedding(row.get(EMBEDDING_KEY), where),
    }


def _prompt(row: Mapping[str, Any], where: str) -> str | None:
    """The last user message; None where the row kept no text."""
    if row.get("prompt") is None and row.get("messages") is None:
        return None
    if row.get("messages") is None and isinstance(row.get("prompt"), str):
        return str(row["prompt"])
    turns = conversation_of(row, where)
    asked = [turn.content for turn in turns if turn.role == "user"]
    return asked[-1] if asked else turns[-1].content


def _text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f'{where}: "{key}" must be text, got {type(value).__name__}.')
    return value


def _share(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise UserError(f'{where}: "{name}" must be a number from 0 to 1, got {str(value)[:40]!r}.')
    return float(value)


def _verdict(value: Any, where: str) -> str | None:
    if value is None or value in VERDICTS:
        return value  # type: ignore[no-any-return]
    raise UserError(
        f'{where}: "{str(value)[:40]}" is no verdict.{nearest(str(value), list(VERDICTS))} '
        f"Verdicts: {', '.join(VERDICTS)}."
    )


def _clauses(row: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    value = row.get("clauses")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f'{where}: "clauses" must be a list of clause ids, got {str(value)[:60]!r}.')
    return tuple(dict.fromkeys(value))


def _layers(value: Any, where: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise UserError(f'{where}: "layers" must be a list of objects with name, verdict and score.')
    scores = {str(one.get("name")): _share(one.get("score"), "layers.score", where) for one in value}
    return {name: score for name, score in scores.items() if score is not None}


def _failed(row: Mapping[str, Any]) -> bool | None:
    layers = row.get("layers")
    if row.get("verdict") is None and layers is None:
        return None
    return row.get("verdict") == "error" or any(layer.get("status") == "failed" for layer in layers or ())


def _refused(row: Mapping[str, Any]) -> bool | None:
    """What the row says itself (`refused`), or the refusal judge's label beside it."""
    if isinstance(row.get("refused"), bool):
        return bool(row["refused"])
    if row.get("judge") == "refusal" and isinstance(row.get("label"), str):
        return bool(row["label"] != "none")
    return None


def _embedding(value: Any, where: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = isinstance(value, list) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in value
    )
    if not numbers or not value:
        raise UserError(f'{where}: "{EMBEDDING_KEY}" must be a list of numbers.')
    return tuple(float(one) for one in value)
