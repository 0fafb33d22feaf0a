"""Rules as rewards: what a program can see of a completion."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charter.ports import Progress
from charter.records import Exchange, Rewarded


class Rule(BaseModel):
    """Conditions on a completion's text; the reward is the share of them that hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contains: str | None = Field(None, description="A regular expression that has to be found.")
    lacks: str | None = Field(None, description="A regular expression that must not be found.")
    min_words: int | None = Field(None, ge=1, description="At least so many words.")
    max_words: int | None = Field(None, ge=1, description="At most so many words.")
    json_object: bool = Field(False, description="The whole text is a JSON object.")

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        for name in ("contains", "lacks"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise ValueError(f"{name} is no regular expression: {error}") from None
        if not self.conditions(""):
            raise ValueError("a rule without a condition says nothing: give one, such as `max_words: 80`")
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError("min_words is above max_words: nothing can be both")
        return self

    def conditions(self, text: str) -> list[bool]:
        """Which of the conditions given hold of a text, in the order of the fields."""
        words = len(text.split())
        held: list[bool] = []
        if self.contains is not None:
            held.append(re.search(self.contains, text) is not None)
        if self.lacks is not None:
            held.append(re.search(self.lacks, text) is None)
        if self.min_words is not None:
            held.append(words >= self.min_words)
        if self.max_words is not None:
            held.append(words <= self.max_words)
        if self.json_object:
            held.append(_is_object(text))
        return held


@dataclass(frozen=True)
class RuleReward:
    """A rule as a reward in [0, 1]."""

    rule: Rule
    name: str = "rule"

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, in order."""
        found = []
        for row in rows:
            held = self.rule.conditions(row.completion)
            found.append(Rewarded(row.id, sum(held) / len(held)))
        if progress is not None:
            progress(len(rows), len(rows))
        return found


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
