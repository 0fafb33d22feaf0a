"""Supervised fine-tuning: the completion's tokens, end of turn included, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from charter.records import Demonstration
from charter.training.layout import Group, Row
from charter.training.loop import Tally, train
from charter.training.losses import nll_loss
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.policy import trainable_policy
from charter.training.rows import demonstration_groups
from charter.training.settings import TrainSettings


class SftSettings(TrainSettings):
    """Supervised fine-tuning."""

    method: Literal["sft"] = "sft"


@dataclass(frozen=True)
class SftObjective:
    """Token-mean negative log-likelihood; `weights` scales rows by key."""

    weights: Mapping[str, float]

    def weight(self, group: Group) -> float:
        """Weighted completion tokens: the loss is a mean over tokens, however the batch is split."""
        return self.weights[group.key] * sum(map(len, group.completions))

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed weighted negative log-likelihood of a row."""
        per_completion = [self.weights[group.key] for group in row.groups for _ in group.completions]
        weight_N = logp_N.new_tensor(per_completion)[row.sequence_N.to(logp_N.device)]
        tally.add("nll", -logp_N.detach().sum(), len(logp_N))
        return nll_loss(logp_N, weight_N).sum()


def train_sft(model: str, rows: Sequence[Demonstration], settings: SftSettings, folder: Path) -> Trained:
    """Fine-tune `model` on demonstrations; the result is `folder/model`. Resumes what a killed run left there."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, weights, dropped = demonstration_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "SFT")
    objective = SftObjective(weights)
    result = train(policy.model, objective, groups, settings, folder, title="SFT", identity=policy.digest)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(SftSettings, train_sft)
