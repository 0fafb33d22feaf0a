"""Kullback-Leibler divergence per completion token between the policy and a reference, in chunks.

The reference is given by its hidden states under the policy's own frozen head (the base under an adapter), or by its
most likely tokens (a teacher's, kept on disk). As with log-probs, the logits of more than a chunk of positions never
exist: under a frozen head the gradient per hidden state is formed while they do, under a trained head the chunk is
recomputed in backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from charter.training.logprobs import Head

Direction = Literal["forward", "reverse"]
_CHUNK = 128
"""Half of what plain log-probs take at a time: four tables over the vocabulary live here at once, two there."""


@dataclass(frozen=True)
class TopTokens:
    """The K most likely tokens at each of N positions under a reference, and all the others as one.

    ids_NK: int64.  logp_NK: their log-probs in nats, fp32.  tail_N: log of all other tokens' joint probability.
    """

    ids_NK: Tensor
    logp_NK: Tensor
    tail_N: Tensor

    def to(self, device: torch.device) -> TopTokens:
        """The same on `device`."""
        return TopTokens(self.ids_NK.to(device), self.logp_NK.to(device), self.tail_N.to(device))

    def split(self, size: int) -> Iterator[TopTokens]:
        """`size` positions at a time."""
        parts = (x.split(size) for x in (self.ids_NK, self.logp_NK, self.tail_N))
        return (TopTokens(*part) for part in zip(*parts, strict=True))


@dataclass(frozen=True)
class Comparison:
    """How two distributions are compared.

    forward is KL(reference || policy), which covers all that the reference would say; reverse is KL(policy ||
    reference), which avoids what it would not say.  temperature: both sides' logits are divided by it.
    likelihood: whether the log-probs get a gradient too, which costs a product with the head.
    """

    direction: Direction = "forward"
    temperature: float = 1.0
    likelihood: bool = True


@torch.no_grad()
def top_tokens(head: Head, hidden_ND: Tensor, k: int, temperature: float, vocabulary: int) -> TopTokens:
    """The k most likely of the first `vocabulary` tokens at each position, at a temperature; k < vocabulary."""
    parts = []
    for hidden in hidden_ND.split(_CHUNK):
        logp_NV = (head.logits(hidden)[:, :vocabulary] / temperature).log_softmax(1)
        top = logp_NV.topk(k)
        # Summed over the others, not one minus the top ones: the difference would be rounding for a confident model.
        tail_N = logp_NV.scatter_(1, top.indices, float("-inf")).logsumexp(1)
        parts.append(TopTokens(top.indices, top.values, tail_N))
    return TopTokens(*(torch.cat([getattr(part, name) for part in parts]) for name in TopTokens.__dataclass_fields__))


def token_divergences(
    head: Head, hidden_ND: Tensor, target_N: Tensor, reference: TopTokens | Tensor, how: Comparison
) -> tuple[Tensor, Tensor]:
    """(logp_N, kl_N), fp32 in nats: log-probs of the targets at temperature 1, and divergences at `how`'s.

    reference: TopTokens, or hidden states (N, D) of the reference under the same frozen head.
    With TopTokens the K tokens and all others together are compared: K + 1 outcomes. It is at most the divergence of
    the whole distributions (data processing inequality), and within the tail only the policy's sum is held.
    Raises ValueError for hidden states under a trained head, which is the reference's no longer.
    """
    if isinstance(reference, Tensor) and head.trained:
        raise ValueError("hidden states of a reference mean nothing under a head that is trained")
    if not (head.trained and torch.is_grad_enabled()):
        both: tuple[Tensor, Tensor] = _FrozenHead.apply(hidden_ND, head, target_N, reference, how)
        return both
    parts = [
        checkpoint(_trained_chunk, hidden, head, target, top, how, use_reentrant=False)
        for hidden, target, top in zip(
            hidden_ND.split(_CHUNK), target_N.split(_CHUNK), reference.split(_CHUNK), strict=True
        )
    ]
    return torch.cat([logp for logp, _ in parts]), torch.cat([kl for _, kl in parts])


def whole_kl(logq_NV: Tensor, logp_NV: Tensor, direction: Direction) -> tuple[Tensor, Tensor]:
    """(KL (N,), its gradient with respect to the policy's logits (N, V)) from log-probs of policy and reference."""
    q_NV = logq_NV.exp()
    if direction == "forward":
        p_NV = logp_NV.exp()
        return (p_NV * (logp_NV - logq_NV)).sum(1), q_NV.sub_(p_NV)
    ratio_NV = logq_NV - logp_NV
    kl_N = torch.linalg.vecdot(q_NV, ratio_NV)
    return kl_N, ratio_NV.sub_(kl_N[:, None]).mul_(q_NV)


def top_kl(logq_NV: Tensor, top: TopTokens, direction: Direction) -> tuple[Tensor, Tensor]:
    """As `whole_kl`, over the K + 1 outcomes of `top`."""
    inside_NK = logq_NV.gather(1, top.ids_NK)
    rest_NV = logq_NV.scatter(1, top.ids_NK, float("-inf"))
    outside_N = rest_NV.logsumexp(1)
    if direction == "forward":
        p_NK, tail_N = top.logp_NK.exp(), top.tail_N
        kl_N = (p_NK * (top.logp_NK - inside_NK)).sum(1) + tail_N.exp() * (tail_N - outside_N)
        # A token of the tail is pulled to the reference's tail in the policy's own proportions, rest - outside. In the
        # exponent, where neither a ratio of tails nor a product with it can overflow.
        pulled_NV = (rest_NV + (tail_N - outside_N)[:, None]).exp_()
        slope_NV = rest_NV.exp_().sub_(pulled_NV)
        return kl_N, slope_NV.scatter_(1, top.ids_NK, inside_NK.exp() - p_NK)
    ratio_NK, ratio_N = inside_NK - top.logp_NK, outside_N - top.tail_N
    kl_N = (inside_NK.exp() * ratio_NK).sum(1) + outside_N.exp() * ratio_N
    slope_NV = rest_NV.exp_().mul_((ratio_N - kl_N)[:, None])
    return kl_N, slope_NV.scatter_(1, top.ids_NK, inside_NK.exp() * (ratio_NK - kl_N[:, None]))


def _kl(logq_NV: Tensor, head: Head, reference: TopTokens | Tensor, how: Comparison) -> tuple[Tensor, Tensor]:
    if isinstance(reference, TopTokens):
        return top_kl(logq_NV, reference, how.direction)
    return whole_kl(logq_NV, (head.logits(reference) / how.temperature).log_softmax(1), how.direction)


def through_head(slope_NV: Tensor, logits_NV: Tensor, head: Head) -> Tensor:
    """From a gradient with respect to the (capped) logits to one with respect to the hidden states, fp32."""
    if head.form.cap is not None:
        slope_NV = slope_NV * (1 - (logits_NV / head.form.cap).square())
    return (slope_NV.to(head.weight_VD.dtype) @ head.weight_VD).float().mul_(head.form.scale)


class _FrozenHead(torch.autograd.Function):
    """Both values under a frozen head; the gradients per hidden state are formed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head: Head, target_N: Tensor, reference: TopTokens | Tensor, how: Comparison
    ) -> tuple[Tensor, Tensor]:
        logps, kls, logp_slopes, kl_slopes = [], [], [], []
        for hidden, target, other in zip(
            hidden_ND.split(_CHUNK), target_N.split(_CHUNK), reference.split(_CHUNK), strict=True
        ):
            logits = head.logits(hidden)
            logq = logits.log_softmax(1)
            column = target[:, None]
            logps.append(logq.gather(1, column)[:, 0])
            # At temperature 1 it is the same table.
            compared = logq if how.temperature == 1 else (logits / how.temperature).log_softmax(1)
            kl, slope = _kl(compared, head, other, how)
            kls.append(kl)
            if not ctx.needs_input_grad[0]:
                continue
            kl_slopes.append(through_head(slope.div_(how.temperature), logits, head))
            if how.likelihood:
                own = logq.gather(1, column).expm1()
                logp_slopes.append(through_head(logq.exp_().neg_().scatter_(1, column, -own), logits, head))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.cat(kl_slopes), *([torch.cat(logp_slopes)] if how.likelihood else []))
            ctx.dtype = hidden_ND.dtype
        logp_N = torch.cat(logps)
        if not how.likelihood:
            ctx.mark_non_differentiable(logp_N)
        return logp_N, torch.cat(kls)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        kl_ND, *logp_ND = ctx.saved_tensors
        hidden_ND = kl_ND * grads[1][:, None]
        for slope_ND in logp_ND:
            hidden_ND.addcmul_(slope_ND, grads[0][:, None])
        return hidden_ND.to(ctx.dtype), None, None, None, None


class _TopKl(torch.autograd.Function):
    """`top_kl` from logits, for a head that is trained."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, top: TopTokens, how: Comparison) -> Tensor:
        kl_N, slope_NV = top_kl((logits_NV / how.temperature).log_softmax(1), top, how.direction)
        ctx.save_for_backward(slope_NV.div_(how.temperature))
        return kl_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * grads[0][:, None], None, None


def _trained_chunk(
    hidden: Tensor, head: Head, target: Tensor, top: TopTokens, how: Comparison
) -> tuple[Tensor, Tensor]:
    logits = head.logits(hidden)
    logp = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1)
    return logp, _TopKl.apply(logits, top, how)
