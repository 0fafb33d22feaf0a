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


class _Gather(torch.autograd.Function):
    """Rows of `x` by index, where the backward pass is a gather too.

    Every source row appears once among the slots that matter, so its gradient is read at `inverse` instead of being
    summed over duplicates (index_add is slow on CPU, and padding slots must not contribute).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.real = real
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inverse,) = ctx.saved_tensors
        grad = grads[0].index_select(0, inverse)
        if ctx.real is not None:
            grad = grad * ctx.real
        return grad, None, None, None


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
    real_S = (layout.slot_is_real_S[:, None, None]).to(query.dtype) if layout.padded else None
    padded = [_Gather.apply(x[0].transpose(0, 1), layout.gather_S, layout.inverse_T, None) for x in (query, key, value)]
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
    return _Gather.apply(flat, layout.inverse_T, layout.gather_S, real_S)[None], None


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
