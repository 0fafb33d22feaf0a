"""What is learned from: prompts, alone or with completions that are imitated, compared, rated or scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charter.records.made import Made, made_from
from charter.records.messages import Conversation, Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt alone, for methods that sample its completions themselves."""

    id: str
    prompt: Conversation
    clauses: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with one completion to imitate. `weight` scales its loss.

    `earlier_weights`, where there are any, are those of the prompt's own assistant turns, in their order: SFT trains
    these too, but for weights of 0.
    `finished` is False for a completion that a token limit cut: its end is no end of turn, and is not learned as one.
    `made` is where a generated row comes from; None for a row that came as it is.
    """

    id: str
    prompt: Conversation
    completion: str
    clauses: tuple[str, ...] = ()
    source: str = ""
    weight: float = 1.0
    finished: bool = True
    earlier_weights: tuple[float, ...] = ()
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """A prompt with one completion that was found desirable or not. `weight` scales its loss.

    `finished` is as in `Demonstration`.
    """

    id: str
    prompt: Conversation
    completion: str
    desirable: bool
    clauses: tuple[str, ...] = ()
    source: str = ""
    weight: float = 1.0
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a chosen and a rejected completion; `strength` in (0, 1] is how sure the label is.

    Methods on pairs weigh a pair's loss by its strength. `margin` is by how much the chosen side is better, in the
    units of its source's scores; `chosen_safe` and `rejected_safe` tell harmless sides. None where nobody said.
    `chosen_finished`, `rejected_finished` and `made` are as in `Demonstration`.
    """

    id: str
    prompt: Conversation
    chosen: str
    rejected: str
    clauses: tuple[str, ...] = ()
    source: str = ""
    strength: float = 1.0
    rater: str = ""
    chosen_finished: bool = True
    rejected_finished: bool = True
    margin: float | None = None
    chosen_safe: bool | None = None
    rejected_safe: bool | None = None
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A prompt with one completion and its scores by name, on whatever scales their source uses; higher is better."""

    id: str
    prompt: Conversation
    completion: str
    scores: Mapping[str, float]
    clauses: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Stepwise:
    """A prompt with one completion in steps, each with a label; higher is better.

    labels: as many as steps; 1 and 0 for right and wrong, or numbers on whatever scale their source uses.
    """

    id: str
    prompt: Conversation
    steps: tuple[str, ...]
    labels: tuple[float, ...]
    clauses: tuple[str, ...] = ()
    source: str = ""


def prompt_from(row: Mapping[str, Any]) -> Prompt:
    """The Prompt that `as_row` wrote."""
    return Prompt(**_fields(row))


def demonstration_from(row: Mapping[str, Any]) -> Demonstration:
    """The Demonstration that `as_row` wrote."""
    fields = {**_fields(row), "earlier_weights": tuple(row.get("earlier_weights", ()))}
    return Demonstration(**fields, made=_made(row))


def preference_from(row: Mapping[str, Any]) -> Preference:
    """The Preference that `as_row` wrote."""
    return Preference(**_fields(row), made=_made(row))


def rated_from(row: Mapping[str, Any]) -> Rated:
    """The Rated that `as_row` wrote."""
    return Rated(**_fields(row))


def scored_from(row: Mapping[str, Any]) -> Scored:
    """The Scored that `as_row` wrote."""
    return Scored(**_fields(row))


def stepwise_from(row: Mapping[str, Any]) -> Stepwise:
    """The Stepwise that `as_row` wrote."""
    return Stepwise(**{**_fields(row), "steps": tuple(row["steps"]), "labels": tuple(row["labels"])})


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the records have tuples; `made` is left to `_made`."""
    fields = {name: value for name, value in row.items() if name != "made"}
    return {**fields, "prompt": tuple(Message(**m) for m in row["prompt"]), "clauses": tuple(row.get("clauses", ()))}


def _made(row: Mapping[str, Any]) -> Made | None:
    return made_from(row["made"]) if row.get("made") else None


def rated_sides(pair: Preference) -> tuple[Rated, Rated]:
    """A pair as two rated completions: chosen is desirable, rejected is not; both weigh the pair's strength."""
    return (
        Rated(
            f"{pair.id}/chosen",
            pair.prompt,
            pair.chosen,
            True,
            pair.clauses,
            pair.source,
            pair.strength,
            pair.chosen_finished,
        ),
        Rated(
            f"{pair.id}/rejected",
            pair.prompt,
            pair.rejected,
            False,
            pair.clauses,
            pair.source,
            pair.strength,
            pair.rejected_finished,
        ),
    )
