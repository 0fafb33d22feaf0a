"""The critic of PPO: a value per completion token, before it is said, by a body of its own or by the policy's.

The value of a token is read at the hidden state that predicts it, where the token itself is not seen yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.reward_head import RewardHead, find_head
from charter.training.layout import Group, Row, pack
from charter.training.logprobs import CompletionLogprobs, Head
from charter.training.policy import Policy, load_trainable
from charter.training.policy_tokens import Reading, logprobs_and_entropies
from charter.training.rewards import CompletionRewards

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenValues(CompletionRewards):
    """A model with one head whose forward maps a row to values_N, fp32, one per completion token."""

    def forward(self, row: Row) -> Tensor:
        """values_N: of what is to come, before each completion token is said."""
        hidden_ND = self.hidden(row).index_select(0, row.predict_N.to(self.device))
        values: Tensor = self.head(hidden_ND)[:, 0]
        return values


class ActorCritic(CompletionLogprobs):
    """A policy with its critic: all that PPO trains is in it.

    critic: a TokenValues with a body of its own, whose weights are optimised apart, at `critic_rate` times the policy's
    learning rate; or a head on the policy's body, which shares its hidden states and its optimiser.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        critic: TokenValues | RewardHead,
        critic_rate: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, temperature=temperature)
        self.critic = critic.to(self.device)
        self._critic_rate = critic_rate

    def read(self, row: Row, how: Reading = Reading()) -> tuple[Tensor, Tensor, Tensor]:
        """(log-probs, entropies, values) of the row's completion tokens, (N,) each."""
        target_N = row.target_N.to(self.device)
        if isinstance(self.critic, TokenValues):
            logp_N, entropy_N = self(row, partial(_policy_alone, target_N, how))
            return logp_N, entropy_N, self.critic(row)
        both: tuple[Tensor, Tensor, Tensor] = self(row, partial(_with_values, target_N, how, self.critic))
        return both

    def values(self, row: Row) -> Tensor:
        """The critic's values alone, (N,)."""
        if isinstance(self.critic, TokenValues):
            alone: Tensor = self.critic(row)
            return alone
        head = self.critic
        shared: Tensor = self(row, lambda _, hidden_ND: head(hidden_ND)[:, 0])
        return shared

    def trained_parts(self) -> list[tuple[str, float, list[nn.Parameter]]]:
        """Policy and critic apart where they share no weight."""
        if not isinstance(self.critic, TokenValues):
            return super().trained_parts()
        own = {id(weight) for weight in self.critic.parameters()}
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        return [
            ("", 1.0, [weight for weight in trained if id(weight) not in own]),
            ("critic.", self._critic_rate, [weight for weight in trained if id(weight) in own]),
        ]

    def checkpoint_gradients(self, wanted: bool) -> None:
        """Of both."""
        super().checkpoint_gradients(wanted)
        if isinstance(self.critic, TokenValues):
            self.critic.checkpoint_gradients(wanted)


def _policy_alone(target_N: Tensor, how: Reading, head: Head, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
    return logprobs_and_entropies(head, hidden_ND, target_N, how)


def _with_values(
    target_N: Tensor, how: Reading, values: Callable[[Tensor], Tensor], head: Head, hidden_ND: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (*logprobs_and_entropies(head, hidden_ND, target_N, how), values(hidden_ND)[:, 0])


def completion_values(actor: ActorCritic, groups: Sequence[Group], row_tokens: int) -> Tensor:
    """The critic's values of all completion tokens in the order of the groups, (N,), fp32 on the CPU."""
    actor.eval()
    found: dict[int, Tensor] = {}
    for indices in pack(groups, row_tokens):
        row = Row([groups[i] for i in indices])
        with torch.no_grad():
            values_N = actor.values(row).cpu()
        sizes = [sum(map(len, groups[i].completions)) for i in indices]
        found |= {i: part.clone() for i, part in zip(indices, values_N.split(sizes), strict=True)}
    return torch.cat([found[i] for i in range(len(groups))])


def blank_head(width: int) -> RewardHead:
    """A head that says 0 of everything: of a fresh critic, whose first guesses would be noise otherwise."""
    return RewardHead(torch.zeros(1, width), torch.zeros(1), "reward")


def value_head(head: RewardHead, factor: float) -> RewardHead:
    """One head that gives what a reward model's heads give on average, in the reward's units, times `factor`.

    Raises UserError for a model of steps, whose rewards are not linear in a hidden state.
    """
    if head.kind == "process":
        raise UserError("A process reward model cannot start a critic. Name another with `critic_model`.")
    factor = -factor if head.kind == "cost" else factor
    bias = torch.zeros(1) if head.bias is None else head.bias.detach().mean(0, keepdim=True)
    weight = head.weight.detach().mean(0, keepdim=True)
    return RewardHead(factor * head.scale * weight, factor * (head.scale * bias + head.shift), "reward")


def critic_of(
    name: str, factor: float, lora: LoraSettings | None, seed: int, policy: Policy
) -> tuple[TokenValues, str]:
    """(a critic that starts as the model of that name, a reward model times `factor` or any other; its digest).

    Raises UserError when its tokens are not the policy's.
    """
    loaded = load_trainable(name, lora, seed)
    if loaded.format.tokenizer.get_vocab() != policy.format.tokenizer.get_vocab():
        raise UserError(
            f'The critic would start from "{name}", whose tokens are not the policy\'s. Name a model with the same '
            "tokenizer as `critic_model`, or set `critic: shared`."
        )
    output = loaded.model.get_output_embeddings()
    if output.weight is not loaded.model.get_input_embeddings().weight:
        # A value never passes through the output head: training it would only cost memory.
        output.requires_grad_(False)
    head = find_head(name)
    return TokenValues(
        loaded.model, blank_head(output.weight.shape[1]) if head is None else value_head(head, factor)
    ), loaded.digest
