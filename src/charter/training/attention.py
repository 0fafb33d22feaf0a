"""Attention over shared-prompt rows, registered with transformers' attention interface (nothing is patched).

The model sees one flat run of tokens; here queries, keys and values are gathered into blocks of groups of similar
length, each block is one attention call with its mask, and the result is scattered back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from charter.training.layout import RowLayout
from charter.training.products import fits, product_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "charter_rows"
LAYOUT_KEYWORD = "row_layout"


class _ToSlots(torch.autograd.Function):
    """Tokens to the slots of their groups, where the backward pass is a gather too.

    A token of one group stands in one slot that matters, so its gradient is read at `inverse` instead of being summed
    over duplicates (index_add is slow on CPU, and padding slots must not contribute). Only what a row shares stands in
    several slots, the same ones in every group: their gradients are summed, in fp32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor, copies: Tensor) -> Tensor:
        ctx.save_for_backward(inverse, copies)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        inverse, copies = ctx.saved_tensors
        grad = grads[0].index_select(0, inverse)
        if copies.numel():
            grad[: copies.shape[1]] = grads[0][copies].sum(0, dtype=torch.float32).to(grad.dtype)
        return grad, None, None, None


class _FromSlots(torch.autograd.Function):
    """Each token's result, read at one of its slots; the other slots get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inverse: Tensor, index: Tensor, read: Tensor | None) -> Tensor:
        ctx.save_for_backward(index)
        ctx.read = read
        return x.index_select(0, inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (index,) = ctx.saved_tensors
        grad = grads[0].index_select(0, index)
        return grad if ctx.read is None else grad * ctx.read, None, None, None


def row_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    row_layout: RowLayout | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query (1, H, T, d), key and value (1, H_kv, T, d) → (1, T, H, d). Honours windows, soft-capping and sinks.

    Raises RuntimeError when the layout did not reach it (the architecture drops forward keywords) or a mask came
    along: wrong attention would be silent otherwise.
    """
    if row_layout is None:
        raise RuntimeError(f"{type(module).__name__} did not pass `{LAYOUT_KEYWORD}` on to its attention")
    if attention_mask is not None:
        raise RuntimeError(f"{type(module).__name__} made a mask of its own, which shared-prompt rows would ignore")
    layout = row_layout
    window = sliding_window if sliding_window is not None else getattr(module, "sliding_window", None)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    plain = softcap is None and s_aux is None
    masks = layout.masks(window, query.dtype if plain else None)
    repeats = query.shape[1] // key.shape[1]
    read_S = None if layout.all_read else layout.slot_is_read_S[:, None, None].to(query.dtype)
    slots = layout.gather_S, layout.inverse_T, layout.copies_GP
    padded = [_ToSlots.apply(x[0].transpose(0, 1), *slots) for x in (query, key, value)]
    outputs = []
    start = 0
    for block, mask in zip(layout.blocks, masks, strict=True):
        groups, length = block.gather_GL.shape
        stop = start + groups * length
        q, k, v = (x[start:stop].unflatten(0, (groups, length)).transpose(1, 2) for x in padded)
        start = stop
        if plain and fits(q, dropout):
            outputs.append(product_attention(q, k, v, mask, scale).transpose(1, 2).flatten(0, 1))
            continue
        if repeats > 1:
            k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
        if plain:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
        else:
            out = _eager(q, k, v, mask, scale, dropout, softcap, s_aux)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    flat = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    return _FromSlots.apply(flat, layout.inverse_T, layout.gather_S, read_S)[None], None


def _eager(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    allowed: Tensor,
    scale: float,
    dropout: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """Attention written out, for soft-capped scores (Gemma 2) and attention sinks (gpt-oss); fp32 softmax."""
    scores = (q @ k.transpose(-1, -2)) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.float().masked_fill(~allowed, float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return weights.to(v.dtype) @ v


@contextlib.contextmanager
def using_rows(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the model attends by shared-prompt rows; its own attention is restored afterwards."""
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


AttentionInterface.register(NAME, row_attention)
