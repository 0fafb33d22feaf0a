"""The backward pass of masked attention as batched matrix products, for processors.

PyTorch's fused attention on CPU is quick forward, but its backward pass takes a quarter of a training step on rows of
short groups. Here forward is PyTorch's, and backward recomputes the probabilities for a few groups at a time (they stay
in cache); its products run on AMX or AVX-512 where the model is bf16, and the heads that share a key are one product.
Scores are fp32: rounded to bf16, scores near 50 (common in small models) would be off by an eighth.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_AT_ONCE = 2**20
"""Scores worked on at a time: 4 MB in fp32. Measured flat between 2^19 and 2^23."""
_LONGEST = 512
"""Beyond this the fused kernel, which skips what the causal mask hides, is as quick or quicker."""


def fits(q_GHLd: Tensor, dropout: float) -> bool:
    """Whether `product_attention` is the better way for this call: groups of at most 512 tokens, on CPU."""
    return q_GHLd.device.type == "cpu" and not dropout and q_GHLd.shape[2] <= _LONGEST


def product_attention(q_GHLd: Tensor, k_GKLd: Tensor, v_GKLd: Tensor, mask_G1LL: Tensor, scale: float) -> Tensor:
    """softmax(scale · q k^T + mask) v, shape of q. K divides H: head h reads key head h // (H / K).

    mask: additive, in q's dtype; every row of it allows some key.
    """
    out: Tensor = _ProductAttention.apply(q_GHLd, k_GKLd, v_GKLd, mask_G1LL, scale)
    return out


class _ProductAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        repeats = q.shape[1] // k.shape[1]
        if repeats > 1:
            k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, mask = ctx.saved_tensors
        groups, heads, length, width = q.shape
        shared = k.shape[1]
        flat_q, grad = (x.reshape(groups * shared, -1, width) for x in (q, grads[0]))
        flat_k, flat_v = (x.reshape(groups * shared, length, width) for x in (k, v))
        dq, dk, dv = torch.empty_like(flat_q), torch.empty_like(flat_k), torch.empty_like(flat_v)
        step = max(_AT_ONCE // (heads * length**2), 1)
        for first in range(0, groups, step):
            last = min(first + step, groups)
            part = slice(first * shared, last * shared)
            few_q, few_k, few_grad = flat_q[part], flat_k[part], grad[part]
            scores = torch.bmm(few_q.float() * ctx.scale, few_k.float().transpose(1, 2))
            scores.view(-1, heads, length, length).add_(mask[first:last])
            weights = scores.softmax(-1).to(q.dtype)
            torch.bmm(weights.transpose(1, 2), few_grad, out=dv[part])
            sloped = torch.bmm(few_grad, flat_v[part].transpose(1, 2))
            sloped = torch._softmax_backward_data(sloped, weights, -1, sloped.dtype)
            torch.bmm(sloped, few_k, out=dq[part])
            torch.bmm(sloped.transpose(1, 2), few_q, out=dk[part])
        by_key = (groups, shared, length, width)
        return dq.mul_(ctx.scale).view_as(q), dk.mul_(ctx.scale).view(by_key), dv.view(by_key), None, None
