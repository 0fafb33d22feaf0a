"""Heads that ship with the package: their weights and the meta beside them, checked to belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file
from torch import Tensor

from charter.errors import UserError
from charter.records import Exchange, Score, asked_of

WEIGHTS: Final = Path(__file__).parent / "weights"


def load_head(name: str, features: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The head's weights and its meta.

    Raises UserError when the files are absent, or are not those of this code's `features`.
    """
    path, about = WEIGHTS / f"{name}.safetensors", WEIGHTS / f"{name}.json"
    try:
        meta: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{WEIGHTS}: the {name} judge's weights cannot be read ({error}). Reinstall charter.") from None
    if digest != meta["weights_sha256"] or meta["features_sha256"] != names_digest(features):
        raise UserError(f"{path}: weights and {about.name} do not belong together. Reinstall charter, or train again.")
    return load_file(path), meta


def names_digest(features: Sequence[str]) -> str:
    """sha256 of the features' names in their order: what weights were trained for."""
    return hashlib.sha256("\n".join(features).encode()).hexdigest()


def weights_digest(name: str) -> str | None:
    """sha256 of the weights that ship for a judge of that name; None when none do."""
    path = WEIGHTS / f"{name}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if "/" not in name and path.is_file() else None


def scored(
    name: str,
    rows: Sequence[Exchange],
    chances: Callable[[Sequence[str], Sequence[str]], Tensor],
    told: Callable[[Any], tuple[str, float]],
) -> list[Score]:
    """One score per row, same order, same ids; an empty completion is unscored.

    chances: (N, …) of prompts and completions.  told: label and score from one row of it, as Python numbers.
    """
    live = [row for row in rows if row.completion.strip()]
    found = iter(chances([asked_of(row.prompt) for row in live], [row.completion for row in live]).tolist())
    scores = []
    for row in rows:
        if not row.completion.strip():
            scores.append(Score(row.id, name, unscored="empty completion"))
            continue
        label, score = told(next(found))
        scores.append(Score(row.id, name, label=label, score=score))
    return scores
