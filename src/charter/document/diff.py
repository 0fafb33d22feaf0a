"""What changed between two charters, and which numbers no longer stand because of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charter.document.evidence import Evidence
from charter.document.types import Charter, Clause


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a clause, before and after, as JSON-ready values."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class ClauseChange:
    """A clause that is in both charters and reads differently."""

    id: str
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class Fallen:
    """A measured number that does not hold for the new charter, and why."""

    metric: str
    suite: str
    clauses: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """From an old charter to a new one. `suites` are those whose scores belong to a clause that is not as it was."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ClauseChange, ...]
    reordered: bool
    suites: tuple[str, ...]
    fallen: tuple[Fallen, ...]

    def __bool__(self) -> bool:
        """Whether any clause differs."""
        return bool(self.added or self.removed or self.changed or self.reordered)


def compare_charters(old: Charter, new: Charter, evidence: Sequence[Evidence] = ()) -> Difference:
    """Clauses added, removed and changed, and the evidence that falls with them.

    A number stands only if every clause it was measured for reads in `new` exactly as it did then.
    """
    before = {clause.id: clause for clause in old.clauses}
    after = {clause.id: clause for clause in new.clauses}
    both = [id for id in after if id in before]
    changed = tuple(_change(before[id], after[id]) for id in both if before[id] != after[id])
    added = tuple(id for id in after if id not in before)
    removed = tuple(id for id in before if id not in after)
    touched = [*added, *removed, *(change.id for change in changed)]
    suites = {name for id in touched for side in (before, after) if id in side for name in side[id].test}
    return Difference(
        added=added,
        removed=removed,
        changed=changed,
        reordered=both != [id for id in before if id in after],
        suites=tuple(sorted(suites)),
        fallen=tuple(fallen for item in evidence if (fallen := _fallen(item, before, after)) is not None),
    )


def _change(before: Clause, after: Clause) -> ClauseChange:
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return ClauseChange(
        before.id, tuple(FieldChange(name, old[name], new[name]) for name in old if old[name] != new[name])
    )


def _fallen(item: Evidence, before: dict[str, Clause], after: dict[str, Clause]) -> Fallen | None:
    reasons: list[str] = []
    for id, digest in item.clauses.items():
        if id not in after:
            reasons.append(f"{id} is gone")
        elif after[id].digest != digest:
            already = id in before and before[id].digest != digest and before[id] == after[id]
            reasons.append(f"{id} had another text already when it was measured" if already else f"{id} changed")
    return Fallen(item.metric, item.suite, tuple(item.clauses), "; ".join(reasons)) if reasons else None
