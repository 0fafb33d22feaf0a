"""Two sets of outcomes on the same samples: how much did each metric change, and how sure is that?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from charter.errors import UserError
from charter.evaluation.results import Outcome
from charter.stats.intervals import tango_paired, z_of
from charter.stats.paired import mcnemar_exact, paired_bootstrap, sign_flip
from charter.stats.power import detectable_difference

DESCRIPTIVE_BELOW: Final = 100
"""Slices with fewer pairs than this are shown, and never decide anything."""
LEVEL: Final = 0.95
POWER: Final = 0.8

Key = tuple[str, int]  # sample id, epoch


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one suite, on the whole set (`slice` None) or a slice of it; higher is better.

    n: independent samples compared (with several epochs, a sample's epochs are averaged first).
    base, candidate: means over the compared pairs; delta: candidate - base, with its 95% interval and two-sided p
    (binary in one epoch: Tango's interval and exact McNemar; otherwise bootstrap over samples and sign flips).
    gained, lost: pairs that only the candidate, only the base got right (binary only).
    unscored: pairs left out because a side has no score; base_only, candidate_only: samples that one side lacks.
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

    @property
    def complete(self) -> bool:
        """Both sides measured the same samples."""
        return self.base_only == 0 and self.candidate_only == 0

    def as_row(self) -> dict[str, Any]:
        """JSON-ready, named as in report.json; numbers that are not finite become null."""
        row = asdict(self)
        row["name"] = row.pop("metric")
        row["clause"] = ", ".join(row.pop("clauses")) or None
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }


def compare(base: Sequence[Outcome], candidate: Sequence[Outcome], seed: int = 0) -> list[Comparison]:
    """Every metric that either side has, whole set first and then its slices, paired by sample id and epoch.

    A metric that one side lacks comes back with n = 0 and a `problem`: never dropped. Raises UserError when a side
    has no outcome at all, when the sides share no metric, or when a side scores one sample twice.
    """
    for side, outcomes in (("base", base), ("candidate", candidate)):
        if not outcomes:
            raise UserError(f"The {side} side has no outcomes: nothing was evaluated. Run its suites, then compare.")
    left, right = _by_metric(base, "base"), _by_metric(candidate, "candidate")
    if not left.keys() & right.keys():
        raise UserError(
            f"The two sides share no metric: the base has {_names(left)}, the candidate has {_names(right)}. "
            "Evaluate both on the same suites."
        )
    comparisons = []
    for suite, metric in dict.fromkeys([*left, *right]):
        ours, theirs = left.get((suite, metric), {}), right.get((suite, metric), {})
        comparisons.append(_compare(suite, metric, None, ours, theirs, seed))
        for name, keys in _slices([*ours.values(), *theirs.values()]).items():
            before, after = ({k: o for k, o in side.items() if k in keys} for side in (ours, theirs))
            comparisons.append(_compare(suite, metric, name, before, after, seed))
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


def _slices(outcomes: Iterable[Outcome]) -> dict[str, set[Key]]:
    """Slice name to its samples; none when there is only one. Seen and unseen categories are slices too."""
    named: dict[str, set[Key]] = defaultdict(set)
    trained: dict[str, set[Key]] = defaultdict(set)
    for outcome in outcomes:
        key = (outcome.sample_id, outcome.epoch)
        if outcome.slice is not None:
            named[outcome.slice].add(key)
        if outcome.seen is not None:
            trained["categories trained on" if outcome.seen else "categories not trained on"].add(key)
    return {name: keys for group in (trained, named) if len(group) > 1 for name, keys in group.items()}


def _compare(
    suite: str,
    metric: str,
    name: str | None,
    base: Mapping[Key, Outcome],
    candidate: Mapping[Key, Outcome],
    seed: int,
) -> Comparison:
    shared = [key for key in base if key in candidate]
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key in shared:
        before, after = base[key].value, candidate[key].value
        if before is not None and after is not None:
            pairs[key[0]].append((before, after))
    scored = sum(len(values) for values in pairs.values())
    everything = [*base.values(), *candidate.values()]
    common: dict[str, Any] = {
        "suite": suite,
        "metric": metric,
        "slice": name,
        "n": len(pairs),
        "unscored": len(shared) - scored,
        "base_only": len(base) - len(shared),
        "candidate_only": len(candidate) - len(shared),
        "descriptive": name is not None and len(pairs) < DESCRIPTIVE_BELOW,
        "clauses": tuple(sorted({clause for outcome in everything for clause in outcome.clauses})),
        "judge": next((outcome.judge for outcome in everything if outcome.judge), None),
    }
    if not pairs:
        unknown: dict[str, Any] = dict.fromkeys(("base", "candidate", "delta", "ci_low", "ci_high", "p"))
        return Comparison(**common, **unknown, problem=_problem(base, candidate, shared))
    means_N = [tuple(sum(side) / len(values) for side in zip(*values, strict=True)) for values in pairs.values()]
    return Comparison(**common, **_numbers(means_N, name is None, seed))


def _numbers(means_N: Sequence[tuple[float, ...]], whole: bool, seed: int) -> dict[str, Any]:
    n = len(means_N)
    base, candidate = (sum(side) / n for side in zip(*means_N, strict=True))
    found: dict[str, Any] = {"base": base, "candidate": candidate, "delta": candidate - base}
    if all(value in (0.0, 1.0) for pair in means_N for value in pair):
        gained = sum(after > before for before, after in means_N)
        lost = sum(after < before for before, after in means_N)
        low, high = tango_paired(gained, lost, n, LEVEL)
        found |= {"gained": gained, "lost": lost, "p": mcnemar_exact(gained, lost), "delta": (gained - lost) / n}
        detectable = detectable_difference(n, (gained + lost) / n, power=POWER) if whole else None
    else:
        differences_N = [after - before for before, after in means_N]
        low, high = paired_bootstrap(differences_N, LEVEL, seed=seed)
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


def _problem(base: Mapping[Key, Outcome], candidate: Mapping[Key, Outcome], shared: Sequence[Key]) -> str:
    if not base or not candidate:
        return f"only the {'candidate' if candidate else 'base'} was measured"
    if not shared:
        return "the two sides have no sample in common"
    reasons = [side[key].unscored for key in shared for side in (base, candidate) if side[key].unscored]
    return f"no pair has a score on both sides ({reasons[0] if reasons else 'no reason given'})"


def _names(table: Mapping[tuple[str, str], Any]) -> str:
    return ", ".join(sorted({metric for _, metric in table}))
