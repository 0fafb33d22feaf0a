"""Two sets of outcomes on the same samples: how much did each metric change, and how sure is that?

The sample is the unit. Its scores in several epochs, or in runs with several seeds, are correlated, so they are
averaged to one number a side before anything else, and intervals and tests see one pair of numbers a sample. With as
many epochs for every sample this is the cluster bootstrap, which draws whole samples (Field and Welsh 2007). It answers
what is asked of a suite: how would it be on other questions like these (Miller 2024, arXiv 2411.00640)?
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from charter.errors import UserError, nearest
from charter.evaluation.pairing import aligned
from charter.evaluation.results import Outcome
from charter.stats.intervals import tango_paired, z_of
from charter.stats.paired import mcnemar_exact, paired_mean, sign_flip
from charter.stats.power import detectable_difference

DESCRIPTIVE_BELOW: Final = 100
"""Slices with fewer samples than this are shown, and never decide anything."""
LEVEL: Final = 0.95
POWER: Final = 0.8
MIN_SHARED: Final = 0.5
"""Below this share of common samples the two sides are taken for different suites, and not compared."""

Key = tuple[str, int]  # sample id, epoch
Kind = Literal["binary", "rate", "score"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one suite, on the whole set (`slice` None) or a slice of it.

    kind: binary (every sample 0 or 1), rate (all in [0, 1]: partial credit, means over epochs) or score (any scale).
    n: samples compared; a sample's scores in several epochs or seeds are averaged first.
    base, candidate: means over these; delta: candidate - base, with its 95% interval and two-sided p (binary: Tango's
    interval and exact McNemar; otherwise bootstrap over samples and sign flips).
    higher_is_better: False where the user said so; `improvement` then turns the signs.
    gained, lost: samples that only the candidate, only the base has at 1 (binary only).
    pairs, unscored: (sample, epoch) pairs with and without a score on both sides.
    base_only, candidate_only: samples that one side lacks; base_silent, candidate_silent: pairs with no answer at all.
    detectable: the smallest change visible at this n and churn with 80% power; None where there is none, or on slices.
    A number that could not be had is None, and `problem` says why.
    """

    suite: str
    metric: str
    slice: str | None
    n: int
    base: float | None
    candidate: float | None
    delta: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    unscored: int
    base_only: int = 0
    candidate_only: int = 0
    gained: int | None = None
    lost: int | None = None
    detectable: float | None = None
    descriptive: bool = False
    clauses: tuple[str, ...] = ()
    judge: str | None = None
    problem: str | None = None
    kind: Kind = "binary"
    higher_is_better: bool = True
    pairs: int | None = None
    base_silent: int = 0
    candidate_silent: int = 0

    @property
    def complete(self) -> bool:
        """Both sides measured the same samples."""
        return self.base_only == 0 and self.candidate_only == 0

    @property
    def scored(self) -> int:
        """Pairs with a score on both sides; one a sample where there is one epoch."""
        return self.n if self.pairs is None else self.pairs

    def improvement(self) -> tuple[float, float, float] | None:
        """Change and its interval with up meaning better; None where there are no numbers."""
        if self.delta is None or self.ci_low is None or self.ci_high is None:
            return None
        if self.higher_is_better:
            return self.delta, self.ci_low, self.ci_high
        return -self.delta, -self.ci_high, -self.ci_low

    def as_row(self) -> dict[str, Any]:
        """JSON-ready, named as in report.json; numbers that are not finite become null."""
        row = asdict(self)
        row["name"] = row.pop("metric")
        row["clause"] = ", ".join(row.pop("clauses")) or None
        row["pairs"] = self.scored
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }


def compare(
    base: Sequence[Outcome],
    candidate: Sequence[Outcome],
    seed: int = 0,
    *,
    lower_is_better: Collection[str] = (),
    pair_by: Literal["auto", "id"] = "auto",
) -> list[Comparison]:
    """Every metric that either side has, whole set first and then its slices, paired by sample.

    A metric that one side lacks comes back with n = 0 and a `problem`: never dropped. lower_is_better: metrics, or
    suite/metric, of which less is better. pair_by: "id" trusts equal ids even where the questions differ.
    Raises UserError when a side has no outcome at all, when the sides share no metric, when a side scores one sample
    twice, or when `lower_is_better` names no metric there is.
    """
    for side, outcomes in (("base", base), ("candidate", candidate)):
        if not outcomes:
            raise UserError(f"The {side} side has no outcomes: nothing was evaluated. Run its suites, then compare.")
    if pair_by == "auto":
        candidate, _ = aligned(base, candidate)
    left, right = _by_metric(base, "base"), _by_metric(candidate, "candidate")
    if not left.keys() & right.keys():
        raise UserError(
            f"The two sides share no metric: the base has {_names(left)}, the candidate has {_names(right)}. "
            "Evaluate both on the same suites."
        )
    metrics = list(dict.fromkeys([*left, *right]))
    _check_known(lower_is_better, metrics)
    comparisons = []
    for suite, metric in metrics:
        higher = not {metric, f"{suite}/{metric}"} & set(lower_is_better)
        ours, theirs = left.get((suite, metric), {}), right.get((suite, metric), {})
        kind = _kind([*ours.values(), *theirs.values()])
        comparisons.append(_compare(suite, metric, None, ours, theirs, seed, kind, higher))
        for name, keys in _slices([*ours.values(), *theirs.values()]).items():
            before, after = ({k: o for k, o in side.items() if k[0] in keys} for side in (ours, theirs))
            comparisons.append(_compare(suite, metric, name, before, after, seed, kind, higher))
    return comparisons


def flipped(base: Iterable[Outcome], candidate: Iterable[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """The pairs whose value changed, losses first: what a person wants to read side by side."""
    other = {(o.suite, o.metric, o.sample_id, o.epoch): o for o in candidate}
    pairs = [(o, other[key]) for o in base if (key := (o.suite, o.metric, o.sample_id, o.epoch)) in other]
    changed = [
        (b, c, c.value - b.value)
        for b, c in pairs
        if b.value is not None and c.value is not None and b.value != c.value
    ]
    return [(b, c) for b, c, _ in sorted(changed, key=lambda item: item[2])]


def _by_metric(outcomes: Sequence[Outcome], side: str) -> dict[tuple[str, str], dict[Key, Outcome]]:
    table: dict[tuple[str, str], dict[Key, Outcome]] = defaultdict(dict)
    for outcome in outcomes:
        rows = table[outcome.suite, outcome.metric]
        key = (outcome.sample_id, outcome.epoch)
        if key in rows:
            raise UserError(
                f'The {side} side scores sample "{outcome.sample_id}" (epoch {outcome.epoch}) of {outcome.suite} twice '
                f"for {outcome.metric}. Give one log for each suite."
            )
        rows[key] = outcome
    return dict(table)


def _slices(outcomes: Iterable[Outcome]) -> dict[str, set[str]]:
    """Slice name to its samples; none when there is only one. Seen and unseen categories are slices too."""
    named: dict[str, set[str]] = defaultdict(set)
    trained: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.slice is not None:
            named[outcome.slice].add(outcome.sample_id)
        if outcome.seen is not None:
            trained["categories trained on" if outcome.seen else "categories not trained on"].add(outcome.sample_id)
    return {name: keys for group in (trained, named) if len(group) > 1 for name, keys in group.items()}


def _kind(outcomes: Iterable[Outcome]) -> Kind:
    values = {outcome.value for outcome in outcomes if outcome.value is not None}
    if values <= {0.0, 1.0}:
        return "binary"
    return "rate" if all(0.0 <= value <= 1.0 for value in values) else "score"


def _compare(
    suite: str,
    metric: str,
    name: str | None,
    base: Mapping[Key, Outcome],
    candidate: Mapping[Key, Outcome],
    seed: int,
    kind: Kind,
    higher: bool,
) -> Comparison:
    ours, theirs = {sample for sample, _ in base}, {sample for sample, _ in candidate}
    shared = ours & theirs
    keys = [key for key in dict.fromkeys([*base, *candidate]) if key[0] in shared]
    # A pair that only one side ran (other numbers of epochs) is no missing score: the sample's mean has fewer terms.
    missing = [key for key in keys if any(key in side and side[key].value is None for side in (base, candidate))]
    means = _sample_means(base, candidate, shared)
    everything = [*base.values(), *candidate.values()]
    common: dict[str, Any] = {
        "suite": suite,
        "metric": metric,
        "slice": name,
        "n": len(means),
        "unscored": len(missing),
        "pairs": len(keys) - len(missing),
        "base_only": len(ours - shared),
        "candidate_only": len(theirs - shared),
        "base_silent": sum(base[key].silent for key in keys if key in base),
        "candidate_silent": sum(candidate[key].silent for key in keys if key in candidate),
        "descriptive": name is not None and len(means) < DESCRIPTIVE_BELOW,
        "clauses": tuple(sorted({clause for outcome in everything for clause in outcome.clauses})),
        "judge": next((outcome.judge for outcome in everything if outcome.judge), None),
        "higher_is_better": higher,
    }
    problem = _problem(base, candidate, ours, theirs, bool(means))
    if problem:
        unknown: dict[str, Any] = dict.fromkeys(("base", "candidate", "delta", "ci_low", "ci_high", "p"))
        return Comparison(**common | {"n": 0, "pairs": 0}, **unknown, problem=problem, kind=kind)
    if kind == "binary" and any(value not in (0.0, 1.0) for pair in means for value in pair):
        kind = "rate"
    return Comparison(**common, **_numbers(means, kind, name is None, seed), kind=kind)


def _sample_means(
    base: Mapping[Key, Outcome], candidate: Mapping[Key, Outcome], shared: Collection[str]
) -> list[tuple[float, float]]:
    """Of every shared sample with a score on both sides: the means of its scored epochs, in the base's order."""
    sides = []
    for side in (base, candidate):
        values: dict[str, list[float]] = defaultdict(list)
        for (sample, _), outcome in side.items():
            if outcome.value is not None and sample in shared:
                values[sample].append(outcome.value)
        sides.append({sample: math.fsum(found) / len(found) for sample, found in values.items()})
    before, after = sides
    return [(before[sample], after[sample]) for sample in before if sample in after]


def _numbers(means_N: Sequence[tuple[float, float]], kind: Kind, whole: bool, seed: int) -> dict[str, Any]:
    n = len(means_N)
    base, candidate = (math.fsum(side) / n for side in zip(*means_N, strict=True))
    found: dict[str, Any] = {"base": base, "candidate": candidate, "delta": candidate - base}
    if kind == "binary":
        gained = sum(after > before for before, after in means_N)
        lost = sum(after < before for before, after in means_N)
        low, high = tango_paired(gained, lost, n, LEVEL)
        found |= {"gained": gained, "lost": lost, "p": mcnemar_exact(gained, lost), "delta": (gained - lost) / n}
        detectable = detectable_difference(n, (gained + lost) / n, power=POWER) if whole else None
    else:
        # Sorted, so that the order of the samples does not choose the resamples.
        differences_N = sorted(after - before for before, after in means_N)
        values = [value for pair in means_N for value in pair]
        span = 1.0 if kind == "rate" else max(values) - min(values)
        low, high = paired_mean(differences_N, span, LEVEL, seed=seed)
        found["p"] = sign_flip(differences_N, seed=seed)
        detectable = _detectable_mean(differences_N) if whole else None
    return found | {"ci_low": low, "ci_high": high, "detectable": detectable}


def _detectable_mean(differences_N: Sequence[float]) -> float | None:
    """Smallest mean difference visible with 80% power at the spread seen (normal approximation)."""
    n = len(differences_N)
    if n < 2:
        return None
    mean = sum(differences_N) / n
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences_N) / (n - 1))
    return (z_of(LEVEL) + z_of(2 * POWER - 1)) * spread / math.sqrt(n)


def _problem(
    base: Mapping[Key, Outcome], candidate: Mapping[Key, Outcome], ours: set[str], theirs: set[str], scored: bool
) -> str | None:
    if not base or not candidate:
        return f"only the {'candidate' if candidate else 'base'} was measured"
    shared = ours & theirs
    if not shared:
        return "the two sides have no sample in common"
    if len(shared) < MIN_SHARED * len(ours | theirs):
        return (
            f"the two sides have only {len(shared)} of {len(ours | theirs)} samples in common, "
            f"less than {MIN_SHARED:.0%}: evaluate both on the same samples"
        )
    if scored:
        return None
    reasons = [o.unscored for side in (base, candidate) for (s, _), o in side.items() if s in shared and o.unscored]
    return f"no pair has a score on both sides ({reasons[0] if reasons else 'no reason given'})"


def _check_known(wanted: Iterable[str], metrics: Sequence[tuple[str, str]]) -> None:
    known = sorted({name for suite, metric in metrics for name in (metric, f"{suite}/{metric}")})
    for name in wanted:
        if name not in known:
            raise UserError(
                f'There is no metric "{name}" in these logs.{nearest(name, known)} Metrics: {", ".join(known)}.'
            )


def _names(table: Mapping[tuple[str, str], Any]) -> str:
    return ", ".join(sorted({metric for _, metric in table}))
