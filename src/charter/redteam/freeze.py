"""The best attack on each behaviour as a suite of prompts, which `charter eval` and `charter regress` ask again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charter.redteam.results import Row


@dataclass(frozen=True, slots=True)
class Frozen:
    """Rows of a suite, and how many behaviours have none: nothing got through, or not by a prompt alone."""

    rows: list[dict[str, Any]]
    none_got_through: int
    not_a_prompt: int


def freeze(rows: Sequence[Row], per_behaviour: int = 1) -> Frozen:
    """For each behaviour the attacks that got through, highest score first, then fewest queries.

    What needs words in the assistant's mouth or another sampling cannot be asked again by a prompt, and is left out.
    """
    behaviours: dict[str, list[Row]] = {}
    for row in rows:
        behaviours.setdefault(str(row["id"]), []).append(row)
    suite: list[dict[str, Any]] = []
    none = bare = 0
    for name, found in behaviours.items():
        hits = [row for row in found if row.get("success") and row.get("prompt")]
        plain = [row for row in hits if not row.get("prefill") and not row.get("sampling")]
        none += not hits
        bare += bool(hits) and not plain
        best = sorted(plain, key=lambda row: (-(row.get("score") or 0.0), row.get("queries") or 0))
        suite += [_sample(name, row) for row in best[:per_behaviour]]
    return Frozen(suite, none, bare)


def _sample(name: str, row: Row) -> dict[str, Any]:
    prompt = row["prompt"]
    return {
        "id": f"{name}/{row['attack']}",
        "prompt": row["behaviour"],
        "messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
        "slice": row["attack"],
        "clauses": list(row.get("clauses") or ()),
    }
