"""SFT whose first completion tokens are held near the model it starts from, where refusing or answering is decided."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods.likelihood import SftObjective
from charter.training.objective import Tally

EARLY_TOKENS = 5
"""Up to this token the second beta holds; the first token has its own (Qi et al. 2024, section 4.1)."""

Betas = tuple[float, float, float]
"""beta_t for t = 1, for 2 <= t <= 5, and for t > 5."""


def constrained_nll(logp_N: Tensor, reference_N: Tensor, beta_N: Tensor) -> Tensor:
    """Per token -(2 / beta_t) log sigmoid(beta_t log(pi(y_t) / pi_aligned(y_t))), shape (N,).

    Qi et al. 2024 (arXiv 2406.05946), eq. 3. With beta_t → 0 its gradient is that of -log pi(y_t); a large beta_t stops
    pulling once the token is more likely than it was.  logp_N, reference_N: nats; the reference has no gradient.
    """
    return -(2 / beta_N) * torch.nn.functional.logsigmoid(beta_N * (logp_N - reference_N))


@dataclass(frozen=True)
class ConstrainedObjective:
    """The constrained likelihood, weighed over rows and turns as SFT weighs them; the reference is the base under the
    policy's adapter."""

    sft: SftObjective
    betas: Betas

    def weight(self, group: Group) -> float:
        """Weighted completion tokens, as in SFT."""
        return self.sft.weight(group)

    def row_loss(self, logprobs: CompletionLogprobs, row: Row, tally: Tally) -> Tensor:
        """Summed weighted loss of a row."""
        with logprobs.base():
            reference_N = logprobs(row)
        logp_N = logprobs(row)
        beta_N = logp_N.new_tensor(self.token_betas(row))
        loss_N = constrained_nll(logp_N, reference_N, beta_N)
        tally.add("nll", -logp_N.detach().sum(), len(logp_N))
        tally.add("drift", (logp_N.detach() - reference_N).sum(), len(logp_N))
        total: Tensor = (loss_N * logp_N.new_tensor(self.sft.token_weights(row))).sum()
        return total

    def token_betas(self, row: Row) -> list[float]:
        """beta_t of each token that the row predicts; every turn counts its tokens from 1."""
        first, early, late = self.betas
        betas: list[float] = []
        for group in row.groups:
            for turn in group.spoken:
                length = turn.stop - turn.start
                ramp = [first, *[early] * (EARLY_TOKENS - 1), *[late] * max(0, length - EARLY_TOKENS)]
                betas += ramp[:length]
        return betas

    def idle(self, logprobs: CompletionLogprobs, row: Row) -> Tensor:
        """Zero, from the forwards that a row takes."""
        with logprobs.base():
            logprobs(row)
        nothing: Tensor = 0 * logprobs(row).sum()
        return nothing
