"""A reward model from scores of single completions, by regression."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from charter.errors import UserError
from charter.records import Scored
from charter.scores import deciding_score
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Group, Row
from charter.training.methods.base import Method, Trained, need_rows
from charter.training.methods.reward import HeadSettings, counts_of, train_heads
from charter.training.objective import Tally
from charter.training.reward_losses import regression_loss
from charter.training.rewards import reward_policy
from charter.training.rows import single_groups


class PointwiseSettings(HeadSettings):
    """A reward model from scores of single completions (regression)."""

    method: Literal["reward_pointwise"] = "reward_pointwise"
    score: str | None = Field(
        None, description="Name of the score to learn; when left out, each completion's deciding one, or their mean."
    )


@dataclass(frozen=True)
class PointwiseObjective:
    """Groups of one completion, from values (C, K).

    scores: by key, standardised.  counts: as in `RewardObjective`.  spread: the scores' standard deviation, in whose
    units errors are logged.
    """

    scores: Mapping[str, float]
    counts: Mapping[str, Tensor]
    spread: float = 1.0

    def weight(self, group: Group) -> float:  # noqa: ARG002
        """Every completion counts once."""
        return 1.0

    def loss(self, values_CK: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed squared error of a row's completions, each the mean over heads."""
        scores_C1 = values_CK.new_tensor([[self.scores[group.key]] for group in row.groups])
        losses_CK = regression_loss(values_CK, scores_C1)
        errors_C = (values_CK.detach().mean(1) - scores_C1[:, 0]).abs()
        tally.add("mean_error", self.spread * errors_C.sum(), len(errors_C))
        return (losses_CK * counts_of(row, self.counts, losses_CK)).mean(1).sum()


def train_reward_pointwise(model: str, rows: Sequence[Scored], settings: PointwiseSettings, folder: Path) -> Trained:
    """Train heads and body of `model` to tell scores; rewards of `folder/model` are in the scores' own units.

    Raises UserError when no row can be used, a row lacks the score asked for, or all scores are equal.
    """
    scores = {row.id: score_of(row, settings.score) for row in rows}
    policy, head = reward_policy(model, settings.lora, settings.seed, "pointwise", settings.heads, bias=True)
    groups, _, dropped = single_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "Reward model")
    used = [scores[group.key] for group in groups]
    if len(set(used)) == 1:
        raise UserError(f"Reward model: every completion has the score {used[0]:g}; that leaves nothing to learn.")
    if (head.scale, head.shift) == (1.0, 0.0):
        # Heads start with values of order one. Those saved with a model keep the units they have.
        head.scale, head.shift = statistics.pstdev(used), statistics.fmean(used)
    standard = {group.key: (scores[group.key] - head.shift) / head.scale for group in groups}
    objective = PointwiseObjective(
        standard, bootstrap_counts([group.key for group in groups], settings.heads, settings.seed), head.scale
    )
    return train_heads(
        policy, head, objective, groups, settings, folder, title="reward model", labels=standard, dropped=dropped
    )


def score_of(row: Scored, name: str | None) -> float:
    """The score of that name, or the deciding one. Raises UserError when the row has none of that name."""
    if name is None:
        return deciding_score(row.scores)
    if name not in row.scores:
        raise UserError(
            f'Reward model: row {row.id} has no score "{name}". It has {", ".join(sorted(row.scores)) or "none"}.'
        )
    return row.scores[name]


METHOD = Method(PointwiseSettings, train_reward_pointwise)
