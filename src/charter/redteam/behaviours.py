"""Behaviours: what attacks try to get, from a JSONL file or the shipped suite of harmful requests."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

from charter.errors import UserError
from charter.evaluation import load_suite
from charter.records import read_jsonl
from charter.redteam.protocol import Behaviour

SHIPPED = "harmful_requests"
_OWN = ("id", "behaviour", "target", "clauses", "category")


def shipped_behaviours() -> list[Behaviour]:
    """The requests of the suite `harmful_requests`."""
    return [Behaviour(s.id, s.prompt, clauses=s.clauses, category=s.slice) for s in load_suite(SHIPPED)]


def read_behaviours(path: Path) -> list[Behaviour]:
    """Rows with id, behaviour and, optionally, target, clauses and category; other fields are carried through.

    Raises UserError naming the line of a row that is none, or of an id that was there before.
    """
    found: dict[str, Behaviour] = {}
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        text, target, clauses = row.get("behaviour"), row.get("target"), row.get("clauses") or []
        if "id" not in row or not isinstance(text, str) or not text.strip():
            raise UserError(f'{where}: a behaviour needs "id" and "behaviour" (the request, as text).')
        if target is not None and (not isinstance(target, str) or not target.strip()):
            raise UserError(f'{where}: "target" must be the beginning of an answer that complies, as text.')
        if not isinstance(clauses, list) or not all(isinstance(clause, str) for clause in clauses):
            raise UserError(f'{where}: "clauses" must be a list of clause ids.')
        name = str(row["id"])
        if name in found:
            raise UserError(f'{where}: the id "{name}" was there before. Give each behaviour an id of its own.')
        rest = {key: value for key, value in row.items() if key not in _OWN}
        category = str(row.get("category") or "")
        found[name] = Behaviour(name, text, target, tuple(clauses), category, rest)
    if not found:
        raise UserError(f'{path}: there are no behaviours. Give one JSON object a line, with "id" and "behaviour".')
    return list(found.values())


def chosen(behaviours: list[Behaviour], clauses: Collection[str], limit: int | None, seed: int) -> list[Behaviour]:
    """Those of any of the clauses (all when none is named), at most `limit` of them: a draw fixed by `seed`.

    Raises UserError for a clause that no behaviour has.
    """
    known = sorted({clause for behaviour in behaviours for clause in behaviour.clauses})
    for clause in clauses:
        if clause not in known:
            raise UserError(
                f'No behaviour belongs to the clause "{clause}". Clauses there are: {", ".join(known) or "none"}.'
            )
    kept = [b for b in behaviours if not clauses or set(b.clauses) & set(clauses)]
    if limit is None or limit >= len(kept):
        return kept
    return [kept[i] for i in sorted(random.Random(seed).sample(range(len(kept)), limit))]
