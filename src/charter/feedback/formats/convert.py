"""From one kind of record to another, where the file holds what it takes; what is left over is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from charter.feedback.formats.detect import Kind
from charter.records import Conversation, Demonstration, Preference, Rated, Scored, rated_sides
from charter.scores import deciding_score

GIVES: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    "demonstrations": ("demonstrations",),
    "preferences": ("preferences", "demonstrations", "ratings"),
    "ratings": ("ratings", "demonstrations"),
    "scored": ("scored", "preferences", "demonstrations"),
    "stepwise": ("stepwise",),
}
"""What records of a kind can also be read as."""


def as_kind(records: Sequence[Any], kind: Kind, wanted: Kind) -> tuple[list[Any], Counter[str]]:
    """(records of the wanted kind, left over by reason). `wanted` must be in `GIVES[kind]`."""
    if kind == wanted:
        return list(records), Counter()
    if kind == "preferences":
        if wanted == "demonstrations":
            return list(chosen_sides(records)), Counter()
        return [side for pair in records for side in rated_sides(pair)], Counter()
    if kind == "ratings":
        return desirable_ones(records)
    return score_pairs(records) if wanted == "preferences" else best_ones(records)


def chosen_sides(preferences: Iterable[Preference]) -> list[Demonstration]:
    """The chosen side of each pair, to imitate."""
    return [
        Demonstration(p.id, p.prompt, p.chosen, p.clauses, p.source, finished=p.chosen_finished) for p in preferences
    ]


def desirable_ones(rated: Sequence[Rated]) -> tuple[list[Demonstration], Counter[str]]:
    """The desirable completions, to imitate."""
    kept = [
        Demonstration(r.id, r.prompt, r.completion, r.clauses, r.source, r.weight, r.finished)
        for r in rated
        if r.desirable
    ]
    return kept, +Counter({"undesirable completion": len(rated) - len(kept)})


def best_ones(scored: Sequence[Scored]) -> tuple[list[Demonstration], Counter[str]]:
    """The best-scored completion of each prompt, to imitate; the first of equals."""
    kept = [max(group, key=_score) for group in _by_prompt(scored)]
    left = Counter({"another completion of its prompt scores as high or higher": len(scored) - len(kept)})
    return [Demonstration(s.id, s.prompt, s.completion, s.clauses, s.source) for s in kept], +left


def score_pairs(scored: Sequence[Scored]) -> tuple[list[Preference], Counter[str]]:
    """One pair a prompt: its best-scored completion against its worst. Prompts whose scores are all equal give none."""
    pairs: list[Preference] = []
    left: Counter[str] = Counter()
    for group in _by_prompt(scored):
        best, worst = max(group, key=_score), min(group, key=_score)
        if len(group) == 1:
            left["the only scored completion of its prompt"] += 1
        elif _score(best) == _score(worst):
            left["all completions of its prompt have the same score"] += len(group)
        else:
            left["scored between the best and the worst of its prompt"] += len(group) - 2
            margin = _score(best) - _score(worst)
            pairs.append(
                Preference(
                    best.id, best.prompt, best.completion, worst.completion, best.clauses, best.source, margin=margin
                )
            )
    return pairs, +left


def _score(scored: Scored) -> float:
    return deciding_score(scored.scores)


def _by_prompt(scored: Iterable[Scored]) -> Iterator[list[Scored]]:
    groups: dict[Conversation, list[Scored]] = {}
    for one in scored:
        groups.setdefault(one.prompt, []).append(one)
    yield from groups.values()
