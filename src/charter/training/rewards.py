"""Rewards of completions or of their steps: heads read at the last token of each, on the rows that give log-probs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.reward_head import RewardHead, RewardKind, find_head, new_head
from charter.training.body import RowForward
from charter.training.layout import Row
from charter.training.policy import Policy, load_trainable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CompletionRewards(RowForward):
    """A model with reward heads whose forward maps a row to rewards, one per place of `read_R` and head.

    Raises UserError when the heads are of another width than the model, or when the body on rows does not reproduce the
    model's own hidden states (checked once, on a short probe).
    """

    def __init__(self, model: PreTrainedModel, head: RewardHead, *, fused: bool = True) -> None:
        super().__init__(model, fused=fused)
        width = self._head.weight.shape[1]
        if head.width != width:
            raise UserError(f"The reward head reads hidden states of size {head.width}, the model's have {width}.")
        self.head = head.to(self.device)
        self._verify()

    def forward(self, row: Row) -> Tensor:
        """rewards_RK, fp32. By default R is C: a completion is read at its end of turn, or where it was cut."""
        hidden_RD = self.hidden(row).index_select(0, row.read_R.to(self.device))
        values: Tensor = self.head(hidden_RD)
        return values

    @torch.no_grad()
    def _verify(self) -> None:
        was_training = self.training
        self.eval()
        row = self._probe()
        (group,) = row.groups
        ours = self.hidden(row)[row.read_R.to(self.device)].float()
        alone = [torch.tensor([group.prompt + completion], device=self.device) for completion in group.completions]
        theirs = torch.stack([self._body(input_ids=ids).last_hidden_state[0, -1].float() for ids in alone])
        self.train(was_training)
        apart = float((ours - theirs).norm() / theirs.norm())
        if apart > (1e-3 if self._head.weight.dtype == torch.float32 else 0.2):
            raise self._refuse(apart, "hidden states, relative to their norm,")


def reward_policy(
    name: str, lora: LoraSettings | None, seed: int, kind: RewardKind, heads: int, *, bias: bool
) -> tuple[Policy, RewardHead]:
    """A model to train as a reward model, with its heads: those saved with it, or fresh ones.

    Raises UserError when the saved ones are of another kind or number.
    """
    policy = load_trainable(name, lora, seed)
    model: Any = policy.model
    head = find_head(name)
    if head is not None and (head.kind, head.heads) != (kind, heads):
        raise UserError(
            f'"{name}" has {head.heads} reward head(s) of the kind "{head.kind}" already; this run is for {heads} of '
            f'the kind "{kind}". Start from its base model, or ask for what it has.'
        )
    output = model.get_output_embeddings()
    if output.weight is not model.get_input_embeddings().weight:
        # A reward never passes through the output head: training it would only cost memory.
        output.requires_grad_(False)
    head = head or new_head(output.weight.shape[1], heads, seed, kind, bias=bias)
    return replace(policy, head=head), head
