"""Supervised fine-tuning: the completion's tokens, end of turn included, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from charter.training.layout import Group, Row
from charter.training.loop import Tally
from charter.training.losses import nll_loss


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
