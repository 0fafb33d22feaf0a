"""How well a judge agrees with people: measured on rows with a human label, and shipped with the judge."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from charter.ports import Judge
from charter.records import Exchange
from charter.stats.agreement import cohen_kappa, confusion
from charter.stats.intervals import wilson

WEIGHTS: Final = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge's agreement with people. Intervals are 95%: Wilson for the accuracy, large-sample for kappa.

    `confusion` has a row for each human label and a column for each judged one, both in the order of `labels`. Unscored
    rows are counted in `unscored` and in nothing else. Numbers that cannot be had (no scored row; kappa where both
    used one single label) are None.
    """

    judge: str
    n: int
    unscored: int
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    measured_on: str = ""

    def as_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def calibrate(judge: Judge, rows: Sequence[Exchange], human: Sequence[str], measured_on: str = "") -> Calibration:
    """Score the rows and compare with the human labels. Raises ValueError when the lengths differ."""
    if len(rows) != len(human):
        raise ValueError(f"every row needs one human label, got {len(rows)} rows and {len(human)} labels")
    judged = [score.label for score in judge.score(rows)]
    return agreement(judge.name, human, judged, tuple(getattr(judge, "labels", ())), measured_on)


def agreement(
    judge: str, human: Sequence[str], judged: Sequence[str | None], labels: tuple[str, ...] = (), measured_on: str = ""
) -> Calibration:
    """The comparison itself; a judged label of None is unscored. `labels` puts known labels first, in that order."""
    pairs = [(a, b) for a, b in zip(human, judged, strict=True) if b is not None]
    order = tuple(dict.fromkeys([*labels, *sorted({label for pair in pairs for label in pair})]))
    table = confusion([a for a, _ in pairs], [b for _, b in pairs], order)
    n, right = len(pairs), sum(table[i][i] for i in range(len(order)))
    low, high = wilson(right, n) if n else (None, None)
    kappa = cohen_kappa(table) if n else None
    return Calibration(
        judge=judge,
        n=n,
        unscored=len(human) - n,
        labels=order,
        confusion=tuple(map(tuple, table)),
        accuracy=right / n if n else None,
        accuracy_low=low,
        accuracy_high=high,
        kappa=_number(kappa.value if kappa else None),
        kappa_low=_number(kappa.low if kappa else None),
        kappa_high=_number(kappa.high if kappa else None),
        measured_on=measured_on,
    )


def _number(value: float | None) -> float | None:
    """The value, or None where there is none (nan is not JSON)."""
    return None if value is None or math.isnan(value) else value


def calibration_from(row: dict[str, Any]) -> Calibration:
    """The Calibration that `as_json` wrote."""
    return Calibration(**{**row, "labels": tuple(row["labels"]), "confusion": tuple(map(tuple, row["confusion"]))})


def judge_agreement(name: str) -> Calibration | None:
    """The measurement shipped with a judge, to be shown beside every score it gave; None when there is none."""
    path = WEIGHTS / f"{name}.json"
    if "/" in name or not path.is_file():
        return None
    measured = json.loads(path.read_text(encoding="utf-8")).get("agreement")
    return calibration_from(measured) if measured else None
