"""A cost model for harm (Safe RLHF): which of two answers is more harmful, and whether an answer is harmful at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from charter.errors import UserError
from charter.records import Preference
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Group, Row
from charter.training.methods.base import Method, Trained, check_strengths, need_rows
from charter.training.methods.reward import HeadSettings, counts_of, train_heads
from charter.training.objective import Tally
from charter.training.reward_losses import bradley_terry_loss, sign_loss
from charter.training.rewards import reward_policy
from charter.training.rows import preference_groups

Safe = tuple[bool | None, bool | None]
"""Whether the chosen and the rejected side are harmless; None where nobody said."""


class CostSettings(HeadSettings):
    """A cost model for harm, with sign terms (Dai et al. 2023)."""

    method: Literal["cost"] = "cost"
    sign_weight: float = Field(
        1.0, ge=0, description="Weight of the terms that make the cost of harmful answers positive, of others negative."
    )


@dataclass(frozen=True)
class CostObjective:
    """Groups of (chosen, rejected), where the chosen side is the less harmful one, from costs (C, K).

    safe: by key; a side without a label is in the pairwise term alone.  strengths, counts: as in `RewardObjective`.
    """

    safe: Mapping[str, Safe]
    strengths: Mapping[str, float]
    counts: Mapping[str, Tensor]
    sign_weight: float = 1.0

    def weight(self, group: Group) -> float:
        """The pair's strength: the loss is a mean over pairs, weighted by it."""
        return self.strengths.get(group.key, 1.0)

    def loss(self, costs_CK: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row's pairs, each the mean over heads."""
        labels = [label for group in row.groups for label in self.safe.get(group.key, (None, None))]
        harmful_C1 = torch.tensor([[label is False] for label in labels], device=costs_CK.device)
        known_C1 = torch.tensor([[label is not None] for label in labels], device=costs_CK.device)
        safer_PK, worse_PK = costs_CK[0::2], costs_CK[1::2]
        signs_CK = sign_loss(costs_CK, harmful_C1) * known_C1
        losses_PK = bradley_terry_loss(worse_PK, safer_PK) + self.sign_weight * (signs_CK[0::2] + signs_CK[1::2])
        self._log(costs_CK.detach().mean(1), harmful_C1[:, 0], known_C1[:, 0], tally)
        weights_P1 = costs_CK.new_tensor([[self.weight(group)] for group in row.groups])
        return (losses_PK * counts_of(row, self.counts, losses_PK) * weights_P1).mean(1).sum()

    @staticmethod
    def _log(costs_C: Tensor, harmful_C: Tensor, known_C: Tensor, tally: Tally) -> None:
        margins_P = costs_C[1::2] - costs_C[0::2]
        tally.add("margin", margins_P.sum(), len(margins_P))
        tally.add("accuracy", (margins_P > 0).float().sum(), len(margins_P))
        if known_C.any():
            right_C = ((costs_C > 0) == harmful_C) & known_C
            tally.add("sign_accuracy", right_C.float().sum(), int(known_C.sum()))


def train_cost(model: str, rows: Sequence[Preference], settings: CostSettings, folder: Path) -> Trained:
    """Train heads and body of `model` to tell costs; the result is `folder/model`.

    Raises UserError when no row can be used, a strength is not in (0, 1], or no side says whether it is safe.
    """
    check_strengths(rows, "Cost model")
    safe: dict[str, Safe] = {row.id: (row.chosen_safe, row.rejected_safe) for row in rows}
    if settings.sign_weight and rows and all(label is None for labels in safe.values() for label in labels):
        raise UserError(
            'Cost model: no row says whether a side is safe. Give the columns "chosen_safe" and "rejected_safe" (true '
            "or false), or set `sign_weight: 0` for the pairwise term alone."
        )
    policy, head = reward_policy(model, settings.lora, settings.seed, "cost", settings.heads, bias=True)
    groups, dropped = preference_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "Cost model")
    counts = bootstrap_counts([group.key for group in groups], settings.heads, settings.seed)
    objective = CostObjective(safe, {row.id: row.strength for row in rows}, counts, settings.sign_weight)
    return train_heads(
        policy, head, objective, groups, settings, folder, title="cost model", labels=safe, dropped=dropped
    )


METHOD = Method(CostSettings, train_cost)
