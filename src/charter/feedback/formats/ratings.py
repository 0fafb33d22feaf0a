"""Completions with a verdict or with scores: TRL's unpaired preferences, HelpSteer, UltraFeedback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from charter.feedback.formats.demonstrations import prompt_and_completion
from charter.feedback.formats.source_rows import SourceRow, as_number
from charter.feedback.formats.turns import conversation, finished, prompt_of
from charter.records import Rated, Scored

VERDICTS: Final = ("label", "desirable")
SCORES: Final = frozenset(
    {
        "helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness", "safety",
        "harmlessness", "instruction_following", "quality", "overall", "overall_score", "score", "rating", "reward",
    }
)  # fmt: skip
"""Columns that are taken for scores; `scores` may hold a mapping with any names."""
_TRUE, _FALSE = {"true", "1", "1.0"}, {"false", "0", "0.0"}


def rated(row: SourceRow) -> Rated:
    """A prompt and completion, or `messages`, with `label` (or `desirable`): true or false, 1 or 0."""
    name = next((name for name in VERDICTS if row.values.get(name) is not None), VERDICTS[0])
    word = str(row.values.get(name)).strip().lower()
    if word not in _TRUE | _FALSE:
        raise row.malformed(
            f'"{name}" must be true (desirable) or false; got {str(row.values.get(name))[:60]!r}. Rename the column '
            "if it means something else"
        )
    if row.values.get("messages"):
        prompt, completion = finished(conversation(row.values["messages"], row.where), row.where)
    else:
        prompt, completion = prompt_and_completion(row)
    weight = row.number("weight", 1.0, 0.0, 1e6)
    return Rated(row.id, prompt, completion, word in _TRUE, row.clauses, row.where, weight, row.flag("finished"))


def scored(row: SourceRow) -> Scored:
    """A prompt and completion with numbers in columns of `SCORES`, or in a mapping `scores`."""
    given = row.values.get("scores")
    named = given if isinstance(given, Mapping) else {name: row.values.get(name) for name in sorted(SCORES)}
    prompt, completion = prompt_and_completion(row)
    return Scored(row.id, prompt, completion, _numbers(named.items(), row), row.clauses, row.where)


def ultrafeedback(row: SourceRow) -> list[Scored]:
    """UltraFeedback as published: an instruction with several completions, each rated on four aspects."""
    prompt = prompt_of(row)
    completions = row.values["completions"]
    if prompt is None or not isinstance(completions, list):
        raise row.malformed('needs an "instruction" and a list of "completions"')
    found = []
    for number, completion in enumerate(completions, 1):
        if not isinstance(completion, Mapping) or not isinstance(completion.get("response"), str):
            raise row.malformed(f'completion {number} has no "response"')
        aspects = completion.get("annotations")
        ratings = {
            name: aspect.get("Rating")
            for name, aspect in (aspects.items() if isinstance(aspects, Mapping) else ())
            if isinstance(aspect, Mapping)
        }
        whole = {name: completion.get(name) for name in ("fine-grained_score", "overall_score")}
        scores = _numbers({**ratings, **whole}.items(), row)
        found.append(Scored(f"{row.id}-{number}", prompt, completion["response"], scores, row.clauses, row.where))
    return found


def _numbers(pairs: Iterable[tuple[str, Any]], row: SourceRow) -> dict[str, float]:
    """The scores that are there; "N/A" is what UltraFeedback writes where an aspect does not apply."""
    found: dict[str, float] = {}
    for name, value in pairs:
        if value in (None, "", "N/A"):
            continue
        number = as_number(value)
        if number is None:
            raise row.malformed(f'"{name}" must be a number; got {str(value)[:60]!r}')
        found[name] = number
    if not found:
        raise row.malformed("has no score")
    return found
