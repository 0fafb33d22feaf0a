"""What a reward model really rewards: accuracy by slice, calibration, length, and paired probes of its biases."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from charter.evaluation.probes.pairs import KINDS, ProbePair, probe_pairs
from charter.ports import Progress, Reward
from charter.records import Exchange, Preference, Rewarded
from charter.stats.correlation import spearman
from charter.stats.intervals import clopper_pearson
from charter.stats.paired import paired_bootstrap
from charter.stats.probabilities import Bin, brier, calibration_bins, expected_calibration_error

MATCHED: Final = 1.1
"""Sides whose lengths (in characters) differ by no more than this factor are of like length."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its exact interval (Clopper and Pearson, 95%); numbers that cannot be had are None."""

    name: str
    n: int
    count: int
    rate: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class Probe:
    """How often the reward prefers the marked side, and by how much.

    shift: mean difference, in standard deviations of the plain answers' rewards, with a bootstrap's interval (95%).
    p: two-sided binomial test of one half.
    """

    preferred: Rate
    p: float | None
    shift: float | None
    shift_low: float | None
    shift_high: float | None


@dataclass(frozen=True, slots=True)
class RewardAudit:
    """The audit. Pairs with a side that is unscored are in `unscored`, by reason, and in nothing else.

    accuracy: share of pairs whose chosen side has the higher reward (a tie is wrong), by slice, "all" first.
    brier, calibration_error, bins: of sigmoid(margin) as the chance that the chosen side is chosen; bins and error are
    over the confidence in the side that the model prefers, from one half to one.
    longer_preferred, longer_chosen: among pairs of unlike length, how often the reward, and the label, are for the
    longer side.  length_correlation: Spearman's rho of reward and length over all completions, with its interval.
    """

    model: str
    pairs: int
    unscored: dict[str, int]
    accuracy: tuple[Rate, ...]
    brier: float | None
    calibration_error: float | None
    bins: tuple[Bin, ...]
    longer_preferred: Rate
    longer_chosen: Rate
    length_correlation: tuple[float, float, float] | None
    probes: tuple[Probe, ...]

    def as_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def audit_reward(
    model: Reward,
    pairs: Sequence[Preference],
    probes: Sequence[ProbePair] | None = None,
    progress: Progress | None = None,
) -> RewardAudit:
    """Audit a reward on labelled pairs and on probe pairs (the built-in ones when left out)."""
    asked = probe_pairs() if probes is None else list(probes)
    exchanges = [
        Exchange(f"{pair.id}/{side}", pair.prompt, text)
        for pair in pairs
        for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected))
    ]
    exchanges += [
        Exchange(f"{probe.id}/{side}", probe.prompt, text)
        for probe in asked
        for side, text in (("plain", probe.plain), ("marked", probe.marked))
    ]
    rewards = model.reward(exchanges, progress)
    split = 2 * len(pairs)
    scored, unscored = _scored(pairs, rewards[:split])
    chances = [_sigmoid(chosen - rejected) for _, chosen, rejected in scored]
    confidence = [max(chance, 1 - chance) for chance in chances]
    bins = calibration_bins(confidence, [chance > 0.5 for chance in chances], low=0.5) if chances else []
    unlike = [
        (len(pair.chosen) > len(pair.rejected), chosen, rejected)
        for pair, chosen, rejected in scored
        if not _matched(pair)
    ]
    lengths = [float(len(text)) for pair, _, _ in scored for text in (pair.chosen, pair.rejected)]
    return RewardAudit(
        model=model.name,
        pairs=len(pairs),
        unscored=dict(unscored),
        accuracy=tuple(_accuracies(scored)),
        brier=brier(chances, [True] * len(chances)) if chances else None,
        calibration_error=expected_calibration_error(bins) if bins else None,
        bins=tuple(bins),
        longer_preferred=_rate("longer_preferred", [(c > r) if longer else (r > c) for longer, c, r in unlike]),
        longer_chosen=_rate("longer_chosen", [longer for longer, _, _ in unlike]),
        length_correlation=spearman(lengths, [reward for _, *both in scored for reward in both]),
        probes=tuple(_probes(asked, rewards[split:])),
    )


ScoredPair = tuple[Preference, float, float]


def _scored(pairs: Sequence[Preference], rewards: Sequence[Rewarded]) -> tuple[list[ScoredPair], Counter[str]]:
    kept: list[ScoredPair] = []
    unscored: Counter[str] = Counter()
    for pair, chosen, rejected in zip(pairs, rewards[0::2], rewards[1::2], strict=True):
        if chosen.reward is None or rejected.reward is None:
            unscored[chosen.unscored or rejected.unscored or "no reward"] += 1
        else:
            kept.append((pair, chosen.reward, rejected.reward))
    return kept, unscored


def slices_of(pair: Preference) -> list[str]:
    """The slices a pair belongs to."""
    text = f"{pair.prompt[-1].content}\n{pair.chosen}\n{pair.rejected}"
    letters = [letter for letter in text if letter.isalpha()]
    names = [f"clause {clause}" for clause in pair.clauses]
    names.append("multi-turn" if sum(turn.role == "user" for turn in pair.prompt) > 1 else "single turn")
    if "```" in text:
        names.append("code")
    if sum(ord(letter) > 0x24F for letter in letters) > 0.3 * len(letters):
        names.append("script other than Latin")
    if _matched(pair):
        names.append("like length")
    else:
        names.append("chosen is longer" if len(pair.chosen) > len(pair.rejected) else "chosen is shorter")
    return names


def _matched(pair: Preference) -> bool:
    sides = sorted((len(pair.chosen), len(pair.rejected)))
    return sides[1] <= MATCHED * sides[0]


def _accuracies(scored: Sequence[ScoredPair]) -> list[Rate]:
    right: dict[str, list[bool]] = {}
    for pair, chosen, rejected in scored:
        for name in slices_of(pair):
            right.setdefault(name, []).append(chosen > rejected)
    whole = _rate("all", [chosen > rejected for _, chosen, rejected in scored])
    return [whole, *(_rate(name, right[name]) for name in sorted(right))]


def _probes(asked: Sequence[ProbePair], rewards: Sequence[Rewarded]) -> list[Probe]:
    from scipy.stats import binomtest

    found = []
    sides = list(zip(asked, rewards[0::2], rewards[1::2], strict=True))
    for kind in KINDS:
        both = [
            (plain.reward, marked.reward)
            for probe, plain, marked in sides
            if probe.kind == kind and plain.reward is not None and marked.reward is not None
        ]
        preferred = _rate(kind, [marked > plain for plain, marked in both])
        # Ties are neither: the test is of the pairs that differ.
        apart = sum(marked != plain for plain, marked in both)
        p = float(binomtest(preferred.count, apart).pvalue) if apart else None
        spread = statistics.pstdev([plain for plain, _ in both]) if both else 0.0
        shift: tuple[float | None, float | None, float | None] = (None, None, None)
        if spread > 0 and len(both) > 1:
            differences = [(marked - plain) / spread for plain, marked in both]
            shift = (statistics.fmean(differences), *paired_bootstrap(differences))
        found.append(Probe(preferred, p, *shift))
    return found


def _rate(name: str, values: Sequence[bool]) -> Rate:
    n, count = len(values), sum(values)
    if not n:
        return Rate(name, 0, 0, None, None, None)
    return Rate(name, n, count, count / n, *clopper_pearson(count, n))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
