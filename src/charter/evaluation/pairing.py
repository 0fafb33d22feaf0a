"""Which sample of one side is which of the other: by id, or by what was asked where ids do not say.

Inspect numbers samples that have no id by their place, after any shuffling: 17 may then be one question in one log and
another in the other. Samples that share an id and not the question are therefore never paired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from charter.evaluation.results import Outcome


def aligned(base: Sequence[Outcome], candidate: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """The candidate's outcomes under the base's sample ids, and a sentence for every suite where that took the text.

    A suite whose shared ids carry the same questions stays as it is. Otherwise samples are matched by question (the
    k-th of several equal ones with the k-th), and one that the base does not have is named "candidate:ID".
    Outcomes that do not know their question are left to their ids.
    """
    notes, moved = [], {}
    before, after = _questions(base), _questions(candidate)
    for suite in before.keys() & after.keys():
        left, right = before[suite], after[suite]
        shared = [sample for sample in left if sample in right]
        clashes = sum(left[sample] != right[sample] for sample in shared)
        if clashes:
            moved[suite] = _by_question(left, right)
            notes.append(
                f"{suite}: {clashes} of {len(shared)} shared ids carry different questions on the two sides, "
                "so samples are paired by question and not by id"
            )
    found = [
        replace(outcome, sample_id=moved[outcome.suite].get(outcome.sample_id, f"candidate:{outcome.sample_id}"))
        if outcome.suite in moved
        else outcome
        for outcome in candidate
    ]
    return found, sorted(notes)


def _questions(outcomes: Iterable[Outcome]) -> dict[str, dict[str, str]]:
    """Suite to sample id to question, where it is known (a sample that was never run has none)."""
    table: dict[str, dict[str, str]] = defaultdict(dict)
    for outcome in outcomes:
        if outcome.question:
            table[outcome.suite][outcome.sample_id] = outcome.question
    return table


def _by_question(base: Mapping[str, str], candidate: Mapping[str, str]) -> dict[str, str]:
    """Candidate id to base id."""
    waiting: dict[str, list[str]] = defaultdict(list)
    for sample, question in base.items():
        waiting[question].append(sample)
    return {sample: waiting[question].pop(0) for sample, question in candidate.items() if waiting[question]}
