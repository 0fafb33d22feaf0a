"""What every shape reads from: a row with its place, and the two ways in which a row can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charter.errors import UserError
from charter.records import Made, made_from


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row as it stands in its file. `key` is its id unless it has one; `where` names it in errors."""

    key: str
    where: str
    values: Mapping[str, Any]

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that hold something; Parquet and the hub fill what a row lacks with None."""
        return frozenset(name for name, value in self.values.items() if value is not None)

    @property
    def id(self) -> str:
        """The row's own id, or its key."""
        return self.key if self.values.get("id") is None else str(self.values["id"])

    @property
    def clauses(self) -> tuple[str, ...]:
        """Ids of charter clauses that the row names, none as a rule."""
        value = self.values.get("clauses")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(clause, str) for clause in value):
            raise self.malformed(f'"clauses" must be a list of clause ids; got {str(value)[:60]!r}')
        return tuple(value)

    @property
    def made(self) -> Made | None:
        """What made a row that a run generated; None where the column is missing or is somebody else's."""
        value = self.values.get("made")
        if not isinstance(value, Mapping) or not {"method", "asked", "scores"} <= value.keys():
            return None
        try:
            return made_from(value)
        except (KeyError, TypeError, ValueError):
            raise self.malformed('"made" is not what a run writes; remove it, or rename the column') from None

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """The number in an optional column. Raises UserError when it is none, or outside [low, high]."""
        value = self.values.get(name)
        if value is None:
            return default
        found = as_number(value)
        if found is None or not low <= found <= high:
            raise self.malformed(
                f'"{name}" must be a number from {low:g} to {high:g}; got {str(value)[:60]!r}. Rename the column if '
                "it means something else"
            )
        return found

    def flag(self, name: str) -> bool:
        """The truth in an optional column, True when it is left out."""
        value = self.values.get(name)
        if value is None:
            return True
        if not isinstance(value, bool):
            raise self.malformed(f'"{name}" must be true or false; got {str(value)[:60]!r}')
        return value

    def malformed(self, problem: str) -> UserError:
        """The error for a row that is not what its format says; it stops the reading."""
        return UserError(f"{self.where}: {problem}.")


class Unusable(UserError):
    """A row that is well formed but holds nothing to train on: it is dropped, and counted under `reason`."""

    def __init__(self, where: str, reason: str, advice: str = "") -> None:
        super().__init__(f"{where}: {reason}.{' ' + advice if advice else ''}")
        self.reason = reason


def as_number(value: Any) -> float | None:
    """A number, or text that is one (CSV has nothing else); None for anything else, NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
