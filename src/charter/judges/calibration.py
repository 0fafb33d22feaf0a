"""How well a judge agrees with people: measured on rows with a human label, and kept with the judge."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from charter.errors import UserError
from charter.judges.embedded import WEIGHTS
from charter.judges.registry import judge_digest
from charter.models.smollm2 import cache_folder
from charter.ports import Judge
from charter.records import Exchange, Score, write_text
from charter.stats.agreement import cohen_kappa, confusion
from charter.stats.imperfect import Errors
from charter.stats.intervals import wilson
from charter.stats.roc import Auc, auc

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge's agreement with people. Intervals are 95%: Wilson for the accuracy, large-sample for kappa.

    `confusion` has a row for each human label and a column for each judged one, both in the order of `labels`. Unscored
    rows are counted in `unscored` and in nothing else. Numbers that cannot be had (no scored row; kappa where both
    used one single label) are None. `auc` is of the judge's score, for judges of two labels: how well it ranks
    `harmful` (or `good`) rows above the others. `slices`: the same by named subset, where the rows have any.
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
    auc: Auc | None = None
    slices: dict[str, Calibration] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def errors(self, passing: Collection[str]) -> Errors:
        """The judge's errors about one event: that the label is one of `passing`."""
        yes = [i for i, label in enumerate(self.labels) if label in passing]
        no = [i for i, label in enumerate(self.labels) if label not in passing]

        def count(rows: list[int], columns: list[int]) -> int:
            return sum(self.confusion[i][j] for i in rows for j in columns)

        return Errors(count(yes, yes), count(yes, [*yes, *no]), count(no, no), count(no, [*yes, *no]))


def calibrate(
    judge: Judge,
    rows: Sequence[Exchange],
    human: Sequence[str],
    measured_on: str = "",
    slices: Sequence[str | None] = (),
) -> Calibration:
    """Score the rows and compare with the human labels. Raises ValueError when the lengths differ.

    slices: for each row the subset it belongs to, or None; empty for no slices.
    """
    if len(rows) != len(human) or len(slices) not in (0, len(rows)):
        raise ValueError(
            f"every row needs one human label, got {len(rows)} rows, {len(human)} labels and {len(slices)} slices"
        )
    scores = judge.score(rows)
    labels = tuple(getattr(judge, "labels", ()))

    def measured(places: Sequence[int]) -> Calibration:
        judged, truth = [scores[i].label for i in places], [human[i] for i in places]
        found = agreement(judge.name, truth, judged, labels, measured_on)
        return replace(found, auc=_area([scores[i] for i in places], truth, labels))

    found = measured(range(len(rows)))
    names = dict.fromkeys(name for name in slices if name is not None)
    return replace(found, slices={name: measured([i for i, s in enumerate(slices) if s == name]) for name in names})


def _area(scores: Sequence[Score], human: Sequence[str], labels: tuple[str, ...]) -> Auc | None:
    """Of the score that means the label `harmful`, or `good`: the one of two that the judge's score is a chance of."""
    event = next((label for label in ("harmful", "good") if label in labels), None)
    if len(labels) != 2 or event is None:
        return None
    known = [(one.score, label == event) for one, label in zip(scores, human, strict=True) if one.score is not None]
    return auc([score for score, _ in known], [truth for _, truth in known])


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


def calibration_from(row: Mapping[str, Any]) -> Calibration:
    """The Calibration that `as_json` wrote."""
    return Calibration(
        **{
            **row,
            "labels": tuple(row["labels"]),
            "confusion": tuple(map(tuple, row["confusion"])),
            "auc": Auc(**row["auc"]) if row.get("auc") else None,
            "slices": {name: calibration_from(one) for name, one in (row.get("slices") or {}).items()},
        }
    )


def keep_calibration(found: Calibration, digest: str) -> Path:
    """Store a measurement beside the judge's name, for every score that the judge gives from now on; its file.

    digest: of what the judge is made of (`judges.registry.judge_digest`). A changed judge is not measured any more.
    """
    path = _kept(found.judge)
    write_text(path, json.dumps({"digest": digest, "agreement": found.as_json()}, indent=1) + "\n")
    return path


def judge_agreement(name: str) -> Calibration | None:
    """What is known of a judge's agreement with people, to be shown beside every score it gave.

    A measurement of one's own (`charter judge calibrate`) goes before the one that ships with the judge; None when
    there is neither, or when the judge has changed since.
    """
    own = _kept(name)
    if own.is_file():
        try:
            row = json.loads(own.read_text(encoding="utf-8"))
            if row["digest"] == judge_digest(name):
                return calibration_from(row["agreement"])
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            log.warning("%s: the stored calibration is not used (%s)", own, error)
    path = WEIGHTS / f"{name}.json"
    if "/" in name or not path.is_file():
        return None
    measured = json.loads(path.read_text(encoding="utf-8")).get("agreement")
    return calibration_from(measured) if measured else None


def _kept(name: str) -> Path:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[-40:]
    return cache_folder() / "judges" / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"
