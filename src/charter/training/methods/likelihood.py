"""The likelihood of completions as SFT weighs it, for every method that imitates: SFT, distillation, best of n."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from charter.training.layout import Group, Row
from charter.training.losses import nll_loss
from charter.training.objective import Tally


@dataclass(frozen=True)
class SftObjective:
    """Weighted token-mean negative log-likelihood; `weights` scales rows by key, and a group's turns have their own.

    The first `opening_tokens` of a completion or turn count `opening_weight` times: alignment differs from the base
    model mostly in them (Qi et al. 2024, arXiv 2406.05946), and in a plain mean one deciding token drowns among its
    many followers.
    """

    weights: Mapping[str, float]
    opening_tokens: int = 0
    opening_weight: float = 1.0

    def weight(self, group: Group) -> float:
        """Weighted completion tokens: the loss is a mean over them, however the batch is split."""
        return sum(
            weight * (length + (self.opening_weight - 1) * min(length, self.opening_tokens))
            for length, weight in self._stretches(group)
        )

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed weighted negative log-likelihood of a row."""
        tally.add("nll", -logp_N.detach().sum(), len(logp_N))
        return nll_loss(logp_N, logp_N.new_tensor(self.token_weights(row))).sum()

    def token_weights(self, row: Row) -> list[float]:
        """The weight of each token that the row predicts."""
        weights: list[float] = []
        for group in row.groups:
            for length, weight in self._stretches(group):
                opening = min(length, self.opening_tokens)
                weights += [weight * self.opening_weight] * opening + [weight] * (length - opening)
        return weights

    def _stretches(self, group: Group) -> list[tuple[int, float]]:
        """(tokens, weight) of each completion or turn."""
        scale = self.weights[group.key]
        return [(turn.stop - turn.start, scale * turn.weight) for turn in group.spoken]
