"""Attack success rates with intervals, per attack, family, technique and category."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from charter.stats.imperfect import Errors, TrueRate, rogan_gladen
from charter.stats.intervals import wilson

Row = Mapping[str, Any]
GROUPINGS: Final[Mapping[str, Callable[[Row], Iterable[str]]]] = {
    "attack": lambda row: [row["attack"]],
    "family": lambda row: [row.get("family") or "other"],
    "technique": lambda row: row.get("techniques") or ["none named"],
    "clause": lambda row: row.get("clauses") or [],
    "category": lambda row: [row["category"]] if row.get("category") else [],
}


@dataclass(frozen=True, slots=True)
class Rate:
    """How often attacks of a group got through. `n`: scored pairs of attack and behaviour; Wilson's interval, 95%.

    any: of the group's behaviours with a scored attack, how many at least one of its attacks got.
    queries: mean number to the first success, over what got through; None where nothing did.
    corrected: the rate that people would have found, by the judge's measured errors; None where these are not known.
    """

    group: str
    name: str
    n: int
    successes: int
    low: float
    high: float
    unscored: int
    behaviours: int
    any: int
    queries: float | None
    corrected: TrueRate | None = None

    @property
    def rate(self) -> float | None:
        """Successes over scored pairs; None where none was scored."""
        return self.successes / self.n if self.n else None

    def as_row(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "rate": self.rate}


def rates(rows: Sequence[Row], group: str, errors: Errors | None = None) -> list[Rate]:
    """A rate for each group, in the order of their first rows. `group` is one of GROUPINGS, `errors` the judge's."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        for name in GROUPINGS[group](row):
            members.setdefault(name, []).append(row)
    return [rate_of(group, name, found, errors) for name, found in members.items()]


def judge_errors(judge: str, through: str) -> Errors | None:
    """How often the judge erred about the label that says that an attack got through, on the rows it was measured on.

    None for a judge that ships without such a measurement.
    """
    from charter.judges.calibration import judge_agreement

    known = judge_agreement(judge)
    return known.errors({through}) if known is not None and through in known.labels else None


def rate_of(group: str, name: str, rows: Sequence[Row], errors: Errors | None = None) -> Rate:
    """The rate of some rows; unscored ones are counted in `unscored` and in nothing else."""
    scored = [row for row in rows if row.get("success") is not None]
    hits = [row for row in scored if row["success"]]
    low, high = wilson(len(hits), len(scored))
    queries = [row["queries"] for row in hits if row.get("queries")]
    return Rate(
        group=group,
        name=name,
        n=len(scored),
        successes=len(hits),
        low=low,
        high=high,
        unscored=len(rows) - len(scored),
        behaviours=len({row["id"] for row in scored}),
        any=len({row["id"] for row in hits}),
        queries=sum(queries) / len(queries) if queries else None,
        corrected=rogan_gladen(len(hits), len(scored), errors) if errors is not None else None,
    )


def unscored_reasons(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows are unscored, by reason, the commonest first."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.get("success") is None:
            reason = str(row.get("unscored") or "no reason given")
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
