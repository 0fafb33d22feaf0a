"""What SFT tied to its base and distillation share: per token, likelihood and divergence from a reference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from charter.training.divergence import Comparison, TopTokens, token_divergences
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, Head
from charter.training.methods.likelihood import SftObjective
from charter.training.objective import Tally
from charter.training.toptokens import KeptTokens


@dataclass(frozen=True)
class KlObjective:
    """nll_weight · (-log pi) + kl_weight · T² · KL, as a mean over completion tokens weighted as SFT weighs them.

    reference: kept tokens; None is the base under the policy's adapter, whole.  T is the comparison's temperature: its
    square keeps the gradient's size from depending on it (Hinton et al. 2015, arXiv 1503.02531, section 2).
    """

    sft: SftObjective
    how: Comparison
    reference: KeptTokens | None
    kl_weight: float
    nll_weight: float = 1.0

    def weight(self, group: Group) -> float:
        """Weighted completion tokens, as in SFT."""
        return self.sft.weight(group)

    def row_loss(self, logprobs: CompletionLogprobs, row: Row, tally: Tally) -> Tensor:
        """Summed weighted loss of a row."""
        reference: TopTokens | Tensor = (
            _base_states(logprobs, row) if self.reference is None else self.reference.of(row.groups)
        )

        def read(head: Head, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
            device = hidden_ND.device
            return token_divergences(head, hidden_ND, row.target_N.to(device), reference.to(device), self.how)

        logp_N, kl_N = logprobs(row, read)
        tally.add("kl", kl_N.detach().sum(), len(kl_N))
        nll = self.sft.loss(logp_N, row, tally)
        kl = (kl_N * kl_N.new_tensor(self.sft.token_weights(row))).sum()
        total: Tensor = self.nll_weight * nll + self.kl_weight * self.how.temperature**2 * kl
        return total

    def idle(self, logprobs: CompletionLogprobs, row: Row) -> Tensor:
        """Zero, from the forwards that a row takes."""
        if self.reference is None:
            _base_states(logprobs, row)
        nothing: Tensor = 0 * logprobs(row).sum()
        return nothing


def _base_states(logprobs: CompletionLogprobs, row: Row) -> Tensor:
    """The hidden states (N, D) of the base under the adapter."""
    with logprobs.base():
        states_ND: Tensor = logprobs(row, lambda _, hidden_ND: hidden_ND)
    return states_ND
