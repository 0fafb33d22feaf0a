"""How a training is watched for reward hacking: how often, on what, against which truth, and what follows."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charter.training.reward_sources import RewardPart

_PER_LOOK = 50


class WatchSettings(BaseModel):
    """The reward-hacking watch of a training stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    looks: int | None = Field(
        None,
        ge=2,
        description="How often the policy is measured, the start and the end among them; null: twice, and once more "
        f"for every {_PER_LOOK} optimiser steps beyond the first {_PER_LOOK}, up to five times.",
    )
    every: int | None = Field(
        None,
        ge=1,
        description="Optimiser steps between measurements, in the place of looks; the start and the end too.",
    )
    prompts: int = Field(
        12, ge=6, description="Prompts like the training's, as many other ones, and as many of each suite."
    )
    tokens: int | None = Field(
        None, ge=1, description="Length at which a sampled completion is cut; null: that of the training's, or 32."
    )
    far: str | None = Field(
        None, description="File or hub dataset of the other prompts; the built-in general ones when left out."
    )
    truth: tuple[RewardPart, ...] = Field(
        (),
        description="What the completions are judged by that the training does not see: reward models trained on other "
        "data, judges, functions. A weight below 0 turns one round.",
    )
    suites: tuple[str, ...] = Field(
        ("benign_lookalikes", "instruction_following"), description="Suites whose first metric is a truth as well."
    )
    keep: Literal["truth", "last"] = Field(
        "truth",
        description="Which weights are the result: those of the end, or, where the truth is shown to have fallen from "
        "its peak, those of the peak.",
    )
    stop: bool = Field(False, description="End the training as soon as hacking is shown.")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Two-sided error rate of what is shown, over all of a look.")
    seed: int = Field(0, ge=0, description="Draws the prompts and the completions.")

    @model_validator(mode="after")
    def _all_is_used(self) -> Self:
        if self.looks is not None and self.every is not None:
            raise ValueError("looks does nothing beside every: leave one of them out")
        if not self.truth and not self.suites:
            raise ValueError("name a truth or a suite: without any, nothing can be told from the training's own reward")
        return self

    def due(self, step: int, steps: int) -> bool:
        """Whether the policy is measured after `step` of `steps` optimiser steps."""
        if self.every is not None:
            return step % self.every == 0 or step == steps
        return step in self.planned(steps)

    def planned(self, steps: int) -> set[int]:
        """The steps after which the policy is measured."""
        if self.every is not None:
            return {*range(0, steps, self.every), steps}
        looks = self.looks or min(max(1 + steps // _PER_LOOK, 2), 5)
        return {round(place * steps / (looks - 1)) for place in range(looks)}


def watch_field() -> Any:
    """The settings' `watch` of a method that optimises a proxy: on unless told otherwise."""
    return Field(WatchSettings(), description="The watch for reward hacking (docs/reward_hacking.md); null is none.")
