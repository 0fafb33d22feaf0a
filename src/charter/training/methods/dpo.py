"""Direct preference optimisation on shared-prompt rows.

The reference is the policy as the run finds it: its log-probs are computed once before training and cached, so no
second model is held and no adapter has to be switched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from charter.records import Preference
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, sum_by_completion
from charter.training.loop import Tally, train
from charter.training.losses import dpo_loss, nll_loss
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.policy import trainable_policy
from charter.training.reference import cached_reference
from charter.training.rows import preference_groups
from charter.training.settings import TrainSettings


class DpoSettings(TrainSettings):
    """Direct preference optimisation."""

    method: Literal["dpo"] = "dpo"
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Chance that a label is flipped (cDPO).")
    sft_weight: float = Field(0.0, ge=0, description="Weight of the chosen side's likelihood (RPO).")


@dataclass(frozen=True)
class DpoObjective:
    """DPO with groups of (chosen, rejected). `reference`: per key, summed log-probs (2,) of both under the reference.

    sft_weight adds the chosen completion's length-normalised negative log-likelihood (RPO; Liu et al. 2024,
    arXiv 2405.16436), which keeps the chosen side from losing probability together with the rejected one.
    """

    reference: Mapping[str, Tensor]
    beta: float = 0.1
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def weight(self, group: Group) -> float:  # noqa: ARG002 - the port's signature
        """Every pair counts once."""
        return 1.0

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed DPO loss of a row's pairs."""
        sums_P2 = sum_by_completion(logp_N, row).view(-1, 2)
        reference_P2 = torch.stack([self.reference[group.key] for group in row.groups]).to(sums_P2.device)
        ratios_P2 = sums_P2 - reference_P2
        margins_P = ratios_P2[:, 0] - ratios_P2[:, 1]
        losses_P = dpo_loss(margins_P, self.beta, self.label_smoothing)
        pairs = len(row.groups)
        with torch.no_grad():
            tally.add("margin", (self.beta * margins_P).sum(), pairs)
            tally.add("accuracy", (margins_P > 0).float().sum(), pairs)
            tally.add("chosen_reward", (self.beta * ratios_P2[:, 0]).sum(), pairs)
            tally.add("rejected_reward", (self.beta * ratios_P2[:, 1]).sum(), pairs)
        total = losses_P.sum()
        if self.sft_weight:
            lengths_P = logp_N.new_tensor([len(group.completions[0]) for group in row.groups])
            nll_P = nll_loss(sums_P2[:, 0], 1 / lengths_P)
            tally.add("chosen_nll", nll_P.detach().sum(), pairs)
            total = total + self.sft_weight * nll_P.sum()
        return total


def train_dpo(model: str, rows: Sequence[Preference], settings: DpoSettings, folder: Path) -> Trained:
    """Optimise `model` on preferences; the reference is `model` itself. The result is `folder/model`."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, dropped = preference_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "DPO")
    reference = cached_reference(
        CompletionLogprobs(policy.model), groups, settings.row_tokens, policy.digest, folder / "reference"
    )
    objective = DpoObjective(reference, settings.beta, settings.label_smoothing, settings.sft_weight)
    result = train(policy.model, objective, groups, settings, folder, title="DPO", identity=policy.digest)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(DpoSettings, train_dpo)
