"""What an RL update reads of the policy at each completion token: its log-prob and the entropy there, at a temperature.

To be given to `CompletionLogprobs` as `read`. As with log-probs alone, the logits of more than a chunk of positions
never exist: under a frozen head the gradient per hidden state is formed while they do, under a trained head the chunk
is recomputed in backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from charter.training.divergence import through_head
from charter.training.logprobs import Head

_CHUNK = 128


@dataclass(frozen=True)
class Reading:
    """How the policy's distribution is read.

    temperature: the one that the completions were sampled at, > 0. The distribution that is trained has to be the one
    that spoke, or ratios and KL are of something else (Huang et al. 2024, arXiv 2403.17031).
    entropy_gradient: whether the entropies have a gradient, for a bonus, at a product with the head; else they are for
    the log.
    """

    temperature: float = 1.0
    entropy_gradient: bool = False


def logprobs_and_entropies(
    head: Head, hidden_ND: Tensor, target_N: Tensor, how: Reading = Reading()
) -> tuple[Tensor, Tensor]:
    """(log-probs of the targets (N,), entropies (N,)), fp32, in nats, of softmax(logits / temperature)."""
    if not (head.trained and torch.is_grad_enabled()):
        both: tuple[Tensor, Tensor] = _FrozenHead.apply(hidden_ND, head, target_N, how)
        return both
    parts = [
        checkpoint(_trained_chunk, hidden, head, target, how, use_reentrant=False)
        for hidden, target in zip(hidden_ND.split(_CHUNK), target_N.split(_CHUNK), strict=True)
    ]
    return torch.cat([logp for logp, _ in parts]), torch.cat([entropy for _, entropy in parts])


def _values(logp_NV: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logp_NV.gather(1, target[:, None])[:, 0], -torch.linalg.vecdot(logp_NV.exp(), logp_NV)


class _FrozenHead(torch.autograd.Function):
    """Both values under a frozen head; the gradients per hidden state are formed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head: Head, target_N: Tensor, how: Reading) -> tuple[Tensor, Tensor]:
        logps, entropies, logp_slopes, entropy_slopes = [], [], [], []
        for hidden, target in zip(hidden_ND.split(_CHUNK), target_N.split(_CHUNK), strict=True):
            logits = head.logits(hidden)
            logp_NV = (logits / how.temperature).log_softmax(1)
            logp, entropy = _values(logp_NV, target)
            logps.append(logp)
            entropies.append(entropy)
            if not ctx.needs_input_grad[0]:
                continue
            if how.entropy_gradient:
                # dH / dz = -p (log p + H)
                slope_NV = (logp_NV + entropy[:, None]).mul_(logp_NV.exp()).div_(-how.temperature)
                entropy_slopes.append(through_head(slope_NV, logits, head))
            # d logp / dz = onehot - p; expm1 keeps the digits of 1 - p for a confident model.
            own = -logp[:, None].expm1()
            slope_NV = logp_NV.exp_().neg_().scatter_(1, target[:, None], own).div_(how.temperature)
            logp_slopes.append(through_head(slope_NV, logits, head))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.cat(logp_slopes), *([torch.cat(entropy_slopes)] if entropy_slopes else []))
            ctx.dtype = hidden_ND.dtype
        logp_N, entropy_N = torch.cat(logps), torch.cat(entropies)
        if not how.entropy_gradient:
            ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logp_ND, *entropy_ND = ctx.saved_tensors
        hidden_ND = logp_ND * grads[0][:, None]
        for slope_ND in entropy_ND:
            hidden_ND.addcmul_(slope_ND, grads[1][:, None])
        return hidden_ND.to(ctx.dtype), None, None, None


def _trained_chunk(hidden: Tensor, head: Head, target: Tensor, how: Reading) -> tuple[Tensor, Tensor]:
    logp, entropy = _values((head.logits(hidden) / how.temperature).log_softmax(1), target)
    return logp, entropy if how.entropy_gradient else entropy.detach()
