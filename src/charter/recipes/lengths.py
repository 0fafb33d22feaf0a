"""Lengths of prompts and completions in tokens: quantiles, a histogram, and whether chosen ones are longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from charter.stats.intervals import clopper_pearson


@dataclass(frozen=True)
class Bin:
    """How many lengths lie in [low, high]."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths in tokens."""

    n: int
    min: int
    median: float
    mean: float
    p95: int
    max: int
    histogram: tuple[Bin, ...]


@dataclass(frozen=True)
class LengthBias:
    """Of pairs whose sides differ in length, the share whose chosen side is the longer one (95% exact interval).

    A method that learns from pairs with a strong bias learns to be long, or short, as much as to be good.
    """

    n: int
    chosen_longer: float
    ci_low: float
    ci_high: float
    median_chosen: float
    median_rejected: float


def lengths_of(rows: Iterable[Mapping[str, int]]) -> dict[str, Lengths]:
    """Distribution of each named length over the rows."""
    columns: dict[str, list[int]] = {}
    for row in rows:
        for name, length in row.items():
            columns.setdefault(name, []).append(length)
    return {name: _lengths(found) for name, found in columns.items()}


def length_bias(rows: Sequence[Mapping[str, int]]) -> LengthBias | None:
    """The bias of rows with lengths `chosen` and `rejected`; None without pairs of different length."""
    pairs = [(row["chosen"], row["rejected"]) for row in rows if "chosen" in row and row["chosen"] != row["rejected"]]
    if not pairs:
        return None
    longer = sum(chosen > rejected for chosen, rejected in pairs)
    low, high = clopper_pearson(longer, len(pairs))
    chosen, rejected = zip(*pairs, strict=True)
    return LengthBias(len(pairs), longer / len(pairs), low, high, float(median(chosen)), float(median(rejected)))


def _lengths(values: list[int]) -> Lengths:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return Lengths(
        len(ordered), ordered[0], float(median(ordered)), mean(ordered), p95, ordered[-1], _histogram(ordered)
    )


def _histogram(ordered: Sequence[int]) -> tuple[Bin, ...]:
    """Bins that double in width: lengths of text spread over orders of magnitude."""
    bins = []
    high = 16
    while high < ordered[0]:
        high *= 2
    low = 0 if high == 16 else high // 2 + 1
    while True:
        bins.append(Bin(low, high, sum(low <= value <= high for value in ordered)))
        if high >= ordered[-1]:
            return tuple(bins)
        low, high = high + 1, high * 2
