"""What is watched: numbers, shares and mixes read off the reference and the stream, and what could not be read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from charter.guard.verdicts import STOP_AT
from charter.judges.strings import string_match
from charter.watch.traffic import Floats, Traffic, stopped

DEFAULT_DELTA: Final = 0.1
LANGUAGES_KEPT: Final = 8
"""The most frequent ones; the rest counts as "other"."""


Index = slice | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """What is watched of N rows; not a number where a row does not say.

    numbers: continuous, each shape (N,).  shares: 0 or 1, each shape (N,).  mixes: one-hot, each shape (N, C).
    clause_of: the clause that a share belongs to, by the share's name.
    """

    numbers: Mapping[str, Floats]
    shares: Mapping[str, Floats]
    mixes: Mapping[str, Floats]
    clause_of: Mapping[str, str]

    def rows(self, index: Index) -> Columns:
        """The same for some rows."""
        return Columns(
            {name: values[index] for name, values in self.numbers.items()},
            {name: values[index] for name, values in self.shares.items()},
            {name: values[index] for name, values in self.mixes.items()},
            self.clause_of,
        )


def columns_of(
    reference: Traffic, stream: Traffic, threshold: float = STOP_AT, delta: float = DEFAULT_DELTA
) -> tuple[Columns, Columns, list[str]]:
    """(reference, stream, notes): the same columns of both, and a sentence for each that could not be had.

    threshold: of the score, for the share within `delta` of it.
    Nothing but the notes depends on which rows are reference and which are stream: the permutations count on it.
    """
    both = (reference, stream)
    notes: list[str] = []
    numbers = {
        "score": _each(both, lambda t: t.scores_N),
        "prompt length": _each(both, lambda t: _lengths(t.prompts)),
        "completion length": _each(both, lambda t: _lengths(t.completions)),
    }
    for name in sorted({name for side in both for scores in side.layers for name in scores}):
        pair = (_layer(both[0], name), _layer(both[1], name))
        # The only layer's score is the whole's: watching both would spend false alarms twice.
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(pair, numbers["score"], strict=True)):
            numbers[f"{name} layer's score"] = pair
    shares = {
        "stopped": _each(both, lambda t: _flags([stopped(v) for v in t.verdicts])),
        "redacted": _each(both, lambda t: _flags([None if v is None else v == "redact" for v in t.verdicts])),
        "failed": _each(both, lambda t: _flags(t.failed)),
        "refused": _refusals(both),
        "near the threshold": _each(both, lambda t: _near(t.scores_N, threshold, delta)),
    }
    clauses = sorted({clause for side in both for row in side.clauses for clause in row or ()})
    clause_of = {}
    for clause in clauses:
        shares[f"clause {clause}"] = (_has(both[0], clause), _has(both[1], clause))
        clause_of[f"clause {clause}"] = clause
    if not clauses:
        notes.append("clauses: no row names one, so none is watched on its own.")
    mixes: dict[str, tuple[Floats, ...]] = {
        "verdicts": _one_hot([side.verdicts for side in both]),
        "languages": _one_hot([_languages(side) for side in both]),
    }
    if clauses:
        mixes["clauses"] = tuple(np.stack([shares[f"clause {c}"][i] for c in clauses], axis=1) for i in (0, 1))
    kept_numbers, kept_shares, kept_mixes = (_kept(group, notes) for group in (numbers, shares, mixes))
    ours, theirs = (
        Columns(
            {name: pair[i] for name, pair in kept_numbers.items()},
            {name: pair[i] for name, pair in kept_shares.items()},
            {name: pair[i] for name, pair in kept_mixes.items()},
            clause_of,
        )
        for i in (0, 1)
    )
    return ours, theirs, notes


_Pair = tuple[Floats, Floats]


def _each(both: tuple[Traffic, Traffic], read: Callable[[Traffic], Floats]) -> _Pair:
    return read(both[0]), read(both[1])


def _kept(group: Mapping[str, tuple[Floats, ...]], notes: list[str]) -> dict[str, tuple[Floats, ...]]:
    """Those that both sides have; a note for every one that is missing, wholly or in part."""
    kept = {}
    for name, pair in group.items():
        absent = [np.isnan(side if side.ndim == 1 else side[:, 0]) if side.size else np.ones(0, bool) for side in pair]
        empty = [side for side, none in zip(("reference", "stream"), absent, strict=True) if none.all()]
        if empty:
            notes.append(f"{name}: could not be computed, since no row of the {' or the '.join(empty)} has it.")
            continue
        for side, none in zip(("reference", "stream"), absent, strict=True):
            if none.any():
                notes.append(f"{name}: {int(none.sum())} of {none.size} rows of the {side} do not have it.")
        kept[name] = pair
    return kept


def _lengths(texts: Sequence[str | None]) -> Floats:
    """Lengths in characters, on a log scale: traffic has a few texts that are a hundred times longer than most."""
    return np.array([math.nan if text is None else math.log1p(len(text)) for text in texts])


def _layer(traffic: Traffic, name: str) -> Floats:
    return np.array([row.get(name, math.nan) for row in traffic.layers])


def _flags(values: Sequence[bool | None]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _has(traffic: Traffic, clause: str) -> Floats:
    return _flags([None if named is None else clause in named for named in traffic.clauses])


def _refusals(both: tuple[Traffic, Traffic]) -> _Pair:
    """As a judge labelled them, where it did so on both sides; otherwise whether a published refusal phrase stands in
    the completion."""
    if all(any(value is not None for value in side.refused) for side in both):
        return _each(both, lambda t: _flags(t.refused))
    return _each(both, lambda t: _flags([None if text is None else string_match(text) for text in t.completions]))


def _near(scores_N: Floats, threshold: float, delta: float) -> Floats:
    return np.where(np.isnan(scores_N), math.nan, (np.abs(scores_N - threshold) <= delta).astype(float))


def _languages(traffic: Traffic) -> list[str | None]:
    """As the rows say, otherwise as py3langid sees the prompt."""
    from py3langid import classify

    return [
        said if said is not None else (str(classify(text)[0]) if text and text.strip() else None)
        for said, text in zip(traffic.languages, traffic.prompts, strict=True)
    ]


def _one_hot(sides: Sequence[Sequence[str | None]]) -> tuple[Floats, ...]:
    counts = Counter(value for side in sides for value in side if value is not None)
    kept = [value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LANGUAGES_KEPT]]
    place = {value: index for index, value in enumerate(kept)}
    width = len(kept) + 1
    tables = []
    for side in sides:
        table = np.full((len(side), width), math.nan)
        for row, value in enumerate(side):
            if value is not None:
                table[row] = 0.0
                table[row, place.get(value, width - 1)] = 1.0
        tables.append(table)
    return tuple(tables)
