"""How good AI labels are: agreement with people's choices on the same pairs, with intervals, and the labeller's place
bias."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from charter.feedback.ai_labels import AiLabel, Comparable
from charter.feedback.answers import Said
from charter.feedback.prompt_mix import MixedPrompt
from charter.records import Preference
from charter.stats.intervals import wilson


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `n` labelled pairs, the share on which the label and the person choose alike; Wilson's interval at 95%."""

    n: int
    agree: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class PlaceBias:
    """Of the pairs asked in both orders: how many, the mean chance given to the reply that stands first (0.5 without a
    bias), and the share of questions whose orders prefer different replies. None where no pair was asked so."""

    pairs: int
    first_place: float | None
    disagree: float | None


def place_bias(labels: Sequence[AiLabel]) -> PlaceBias:
    """The labeller's bias over its labels."""
    both = [(a, b) for one in labels if (a := one.first_place) is not None and (b := one.disagree) is not None]
    if not both:
        return PlaceBias(0, None, None)
    return PlaceBias(len(both), statistics.fmean(a for a, _ in both), statistics.fmean(b for _, b in both))


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """What a labeller is worth, measured. Unscored pairs and abstentions are counted and in nothing else.

    sure, unsure: agreement on the halves of the pairs whose chance is farther from and nearer to one half.
    """

    labeller: str
    how: str
    pairs: int
    unscored: int
    reasons: dict[str, int]
    abstained: int
    all: Agreement
    sure: Agreement
    unsure: Agreement
    place: PlaceBias

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def comparable(pairs: Sequence[Preference]) -> list[Comparable]:
    """Human pairs as rows to be labelled: the chosen reply stands second in every other row, so that a labeller that
    favours a place agrees with people in half of them."""
    rows = []
    for number, pair in enumerate(pairs):
        chosen, rejected = Said(pair.chosen, pair.chosen_finished), Said(pair.rejected, pair.rejected_finished)
        one, two = (rejected, chosen) if number % 2 else (chosen, rejected)
        rows.append(Comparable(MixedPrompt(pair.id, pair.prompt, "red_team", pair.clauses), one, two))
    return rows


def quality(labels: Sequence[AiLabel], labeller: str, how: str, abstain: float = 0.0) -> LabelQuality:
    """Compare labels of `comparable` rows, in their order, with the people's choices."""
    scored = [(number, one.chance) for number, one in enumerate(labels) if one.chance is not None]
    kept = [(number, chance) for number, chance in scored if abs(chance - 0.5) > abstain]
    right = [(abs(chance - 0.5), (chance > 0.5) == (number % 2 == 0)) for number, chance in kept]
    right.sort(key=lambda pair: pair[0])
    half = len(right) // 2
    return LabelQuality(
        labeller=labeller,
        how=how,
        pairs=len(labels),
        unscored=len(labels) - len(scored),
        reasons=dict(Counter(one.unscored or "" for one in labels if one.chance is None)),
        abstained=len(scored) - len(kept),
        all=_agreement([ok for _, ok in right]),
        sure=_agreement([ok for _, ok in right[half:]]),
        unsure=_agreement([ok for _, ok in right[:half]]),
        place=place_bias(labels),
    )


def _agreement(right: Sequence[bool]) -> Agreement:
    if not right:
        return Agreement(0, None, None, None)
    count = sum(right)
    return Agreement(len(right), count / len(right), *wilson(count, len(right)))
