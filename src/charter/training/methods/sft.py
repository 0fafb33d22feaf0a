"""Supervised fine-tuning: the completion's tokens, end of turn included, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from charter.records import Demonstration
from charter.training.layout import Group, Row
from charter.training.loop import Tally, train
from charter.training.losses import nll_loss
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.policy import trainable_policy
from charter.training.rows import single_groups
from charter.training.settings import TrainSettings


class SftSettings(TrainSettings):
    """Supervised fine-tuning."""

    method: Literal["sft"] = "sft"
    opening_tokens: int = Field(4, ge=1, description="How many first tokens of a completion are its opening.")
    opening_weight: float = Field(
        1.0, gt=0, description="How much a token of the opening counts, where refusing or answering is decided."
    )


@dataclass(frozen=True)
class SftObjective:
    """Weighted token-mean negative log-likelihood; `weights` scales rows by key.

    The first `opening_tokens` of a completion count `opening_weight` times: alignment differs from the base model
    mostly in them (Qi et al. 2024, arXiv 2406.05946), and in a plain mean one deciding token drowns among its many
    followers.
    """

    weights: Mapping[str, float]
    opening_tokens: int = 0
    opening_weight: float = 1.0

    def weight(self, group: Group) -> float:
        """Weighted completion tokens: the loss is a mean over them, however the batch is split."""
        opening = sum(min(len(completion), self.opening_tokens) for completion in group.completions)
        tokens = sum(map(len, group.completions))
        return self.weights[group.key] * (tokens + (self.opening_weight - 1) * opening)

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed weighted negative log-likelihood of a row."""
        tally.add("nll", -logp_N.detach().sum(), len(logp_N))
        return nll_loss(logp_N, logp_N.new_tensor(self._token_weights(row))).sum()

    def _token_weights(self, row: Row) -> list[float]:
        weights: list[float] = []
        for group in row.groups:
            for completion in group.completions:
                opening = min(len(completion), self.opening_tokens)
                own = [self.opening_weight] * opening + [1.0] * (len(completion) - opening)
                weights += [self.weights[group.key] * one for one in own]
        return weights


def train_sft(model: str, rows: Sequence[Demonstration], settings: SftSettings, folder: Path) -> Trained:
    """Fine-tune `model` on demonstrations; the result is `folder/model`. Resumes what a killed run left there."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, weights, dropped = single_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "SFT")
    objective = SftObjective(weights, settings.opening_tokens, settings.opening_weight)
    result = train(policy.model, objective, groups, settings, folder, title="SFT", identity=policy.digest)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(SftSettings, train_sft)
