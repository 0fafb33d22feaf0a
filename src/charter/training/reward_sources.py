"""Where a run's rewards come from: what its settings say, and judges, functions and sums as a Reward."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charter.errors import UserError
from charter.ports import Judge, Progress, Reward
from charter.records import Exchange, Rewarded
from charter.training.reward_rules import Rule

_KINDS = ("model", "stage", "judge", "function", "endpoint", "rule")


class RewardPart(BaseModel):
    """One source of reward: just one of `model`, `stage`, `judge`, `function`, `endpoint` and `rule`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | tuple[str, ...] | None = Field(
        None, description="A reward model: the folder that `charter train reward` wrote; several are an ensemble."
    )
    stage: str | None = Field(
        None, description="In a recipe: a method's name, for the reward model of its last stage before this one."
    )
    judge: str | None = Field(None, description="A judge's name; the reward is its score in [0, 1].")
    function: str | None = Field(
        None, description="`module:name` of a Python function from an exchange (id, prompt, completion) to a number."
    )
    endpoint: str | None = Field(
        None, pattern="^https?://", description="URL that takes rows and gives rewards, as `charter reward score` does."
    )
    rule: Rule | None = Field(None, description="Conditions on the text; the reward is the share of them that hold.")
    clauses: tuple[str, ...] = Field((), description="Ids of the charter's clauses that it serves.")
    weight: float = Field(1.0, description="The reward is multiplied by it; below 0, less is better.")
    read: Literal["mean", "worst", "penalised"] = Field(
        "mean", description="How an ensemble's heads become one reward. With a `model` or a `stage`."
    )
    penalty: float | None = Field(
        None, ge=0, description="c of the penalised read, mean - c · std over the heads; 1 if unset."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        named = self._kinds
        if len(named) != 1:
            raise ValueError(f"a reward has just one of {', '.join(_KINDS)}; this one has {' and '.join(named) or 0}")
        if self.weight == 0 or not math.isfinite(self.weight):
            raise ValueError("weight must be a number other than 0")
        if self.read != "mean" and self.model is None and self.stage is None:
            raise ValueError("read does nothing without a reward model: leave it out")
        if self.penalty is not None and self.read != "penalised":
            raise ValueError("penalty does nothing without `read: penalised`: leave it out")
        return self

    @property
    def _kinds(self) -> list[str]:
        return [kind for kind in _KINDS if getattr(self, kind) is not None]

    @property
    def label(self) -> str:
        """What its own part of the reward is called in the metrics: its kind, and the clauses that it serves."""
        kind = self._kinds[0]
        told = getattr(self, kind) if kind in ("judge", "stage") else kind
        return " ".join([str(told), *self.clauses])

    @property
    def folders(self) -> tuple[str, ...]:
        """The reward models' folders; none for another kind."""
        return (self.model,) if isinstance(self.model, str) else self.model or ()


@dataclass(frozen=True)
class JudgeReward:
    """A judge's score as a reward; what the judge leaves unscored stays unscored."""

    judge: Judge

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, in order."""
        scores = self.judge.score(rows)
        if progress is not None:
            progress(len(rows), len(rows))
        return [
            Rewarded(one.id, unscored=one.unscored or "the judge gave no score")
            if one.score is None
            else Rewarded(one.id, one.score)
            for one in scores
        ]


@dataclass(frozen=True)
class FunctionReward:
    """A function of one exchange as a reward. A row on which it raises, or gives no finite number, is unscored."""

    name: str
    function: Callable[[Exchange], Any]

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, in order."""
        scored = []
        for done, row in enumerate(rows, 1):
            scored.append(self._one(row))
            if progress is not None:
                progress(done, len(rows))
        return scored

    def _one(self, row: Exchange) -> Rewarded:
        try:
            value = self.function(row)
        except Exception as error:
            # A stranger's function may raise anything; one row's failure must not end a run of hours.
            return Rewarded(row.id, unscored=f"{self.name} raised {type(error).__name__}: {error}")
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            return Rewarded(row.id, unscored=f"{self.name} returned {str(value)[:60]!r}, which is no finite number")
        return Rewarded(row.id, number)


@dataclass(frozen=True)
class Weighed:
    """A reward in a sum, and what its part is called in the metrics."""

    label: str
    reward: Reward
    weight: float = 1.0


@dataclass(frozen=True)
class WeightedSum:
    """A sum of rewards, each times its weight. A row that one of them leaves unscored is unscored.

    name: also says which content the rewards have, so that a checkpoint is not continued with other ones.
    """

    name: str
    parts: Sequence[Weighed]

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, in order; `parts` are the rewards before they are weighed, by label."""
        by_part = [part.reward.reward(rows) for part in self.parts]
        if progress is not None:
            progress(len(rows), len(rows))
        return [self._sum(row.id, [scored[place] for scored in by_part]) for place, row in enumerate(rows)]

    def _sum(self, identity: str, scored: Sequence[Rewarded]) -> Rewarded:
        total, values = 0.0, []
        for one, part in zip(scored, self.parts, strict=True):
            if one.reward is None:
                return Rewarded(identity, unscored=one.unscored or "no reward")
            total += part.weight * one.reward
            values.append((part.label, one.reward))
        return Rewarded(identity, total, parts=tuple(values))


def function_named(name: str) -> Callable[[Exchange], Any]:
    """The function `module:name`; modules in the current folder are found.

    Raises UserError when there is none of that name, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UserError(f'reward.function: "{name}" is not `module:name`, such as `my_rewards:short`.')
    here = str(Path.cwd())
    if here not in sys.path:
        # As `python -m` has it; a console script has only its own folder.
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        # The user's module may fail in any way while it is imported.
        raise UserError(
            f'reward.function: the module "{module_name}" cannot be imported ({type(error).__name__}: {error}). It has '
            "to be installed, or lie in the folder where charter is started."
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UserError(f'reward.function: the module "{module_name}" has no function "{attribute}".')
    found: Callable[[Exchange], Any] = function
    return found
