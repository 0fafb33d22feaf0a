"""Supervised fine-tuning: likelihood of the completion's tokens, end of turn included; near the base on wish."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from charter.records import Demonstration
from charter.training.divergence import Comparison, Direction
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.methods.constrained import ConstrainedObjective
from charter.training.methods.kl import KlObjective
from charter.training.methods.likelihood import SftObjective
from charter.training.policy import Policy, trainable_policy
from charter.training.rows import demonstration_groups
from charter.training.settings import TrainSettings
from charter.training.toptokens import KeptTokens, kept_tokens, vocabulary_of


class SftSettings(TrainSettings):
    """Supervised fine-tuning."""

    method: Literal["sft"] = "sft"
    opening_tokens: int = Field(4, ge=1, description="How many first tokens of a completion are its opening.")
    opening_weight: float = Field(
        1.0, gt=0, description="How much a token of the opening counts, where refusing or answering is decided."
    )
    kl_weight: float = Field(0.0, ge=0, description="Weight of the divergence from the base model, per token.")
    kl_direction: Direction = Field(
        "forward", description="forward: KL(base || policy); reverse: KL(policy || base). With a `kl_weight`."
    )
    kl_top_k: int | None = Field(
        None,
        ge=1,
        description="Compare the base's so many most likely tokens, kept on disk; null compares whole distributions, "
        "with the adapter switched off. With a `kl_weight`; needed without adapters.",
    )

    constrain: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="Hold completions near the base by these betas for the first token, tokens 2 to 5 and later ones; "
        "Qi et al. 2024 take 0.5, 2 and 0.1.",
    )

    @model_validator(mode="after")
    def _constraint_is_alone(self) -> Self:
        if self.constrain is not None and (self.kl_weight or self.opening_weight != 1.0):
            raise ValueError("constrain is a loss of its own: leave kl_weight and opening_weight out beside it")
        if self.constrain is not None and self.lora is None:
            raise ValueError("constrain compares with the base under an adapter: leave `lora: null` out")
        return self

    @model_validator(mode="after")
    def _kl_is_whole(self) -> Self:
        for option in ("kl_direction", "kl_top_k"):
            if not self.kl_weight and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} does nothing without a kl_weight above 0: set one, or leave it out")
        if self.kl_weight and self.lora is None and self.kl_top_k is None:
            raise ValueError("kl_top_k is needed when all weights are trained: no adapter can be switched off; try 64")
        return self


def train_sft(model: str, rows: Sequence[Demonstration], settings: SftSettings, folder: Path) -> Trained:
    """Fine-tune `model` on demonstrations; the result is `folder/model`. Resumes what a killed run left there."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, weights, dropped = demonstration_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "SFT")
    sft = SftObjective(weights, settings.opening_tokens, settings.opening_weight)
    objective: SftObjective | KlObjective | ConstrainedObjective = sft
    if settings.constrain is not None:
        objective = ConstrainedObjective(sft, settings.constrain)
    elif settings.kl_weight:
        base = _kept_base(policy, groups, settings, folder)
        objective = KlObjective(sft, Comparison(settings.kl_direction), base, settings.kl_weight)
    result = train(policy.model, objective, groups, settings, folder, title="SFT", identity=policy.digest)
    return finish(policy, folder, len(groups), dropped, result)


def _kept_base(policy: Policy, groups: Sequence[Group], settings: SftSettings, folder: Path) -> KeptTokens | None:
    """The base's most likely tokens, when asked for: of the weights under the adapter, or of the run's start."""
    if settings.kl_top_k is None:
        return None
    logprobs = CompletionLogprobs(policy.model)
    with logprobs.base() if policy.base is not None else contextlib.nullcontext():
        return kept_tokens(
            lambda: logprobs,
            groups,
            settings.row_tokens,
            policy.digest,
            folder / "reference",
            k=settings.kl_top_k,
            temperature=1.0,
            vocabulary=vocabulary_of(policy.model),
            title="base's log-probs",
        )


METHOD = Method(SftSettings, train_sft)
