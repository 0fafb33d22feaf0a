"""Attention over packed tokens and slots, registered with transformers' attention interface.

The model sees one flat run of tokens, (1, T), with no cache and no mask; the plan that travels as the forward keyword
`charter_plan` says which tokens belong together and where their keys and values live.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charter.models.beginning import common_beginning
from charter.models.generation.cache import Lane

NAME = "charter_slots"


@dataclass(slots=True)
class Segment:
    """A prompt of the run, to be stored in `slots` of `lane`.

    held: where to keep a copy (layer -> keys, values) for samples that have no slot yet, or None.
    """

    prompt_ids: tuple[int, ...]
    lane: Lane
    slots: list[int]
    held: dict[int, tuple[Tensor, Tensor]] | None


@dataclass(slots=True)
class PrefillPlan:
    """What all prompts begin with, once, then the rest of each; a prompt attends to itself whole, causally."""

    segments: list[Segment]
    shared: int = field(init=False)
    spans: list[slice] = field(init=False)
    """Where each prompt's own tokens are in the run."""

    def __post_init__(self) -> None:
        self.shared = common_beginning([part.prompt_ids for part in self.segments])
        ends = list(accumulate((len(part.prompt_ids) - self.shared for part in self.segments), initial=self.shared))
        self.spans = [slice(start, stop) for start, stop in pairwise(ends)]

    def run(self) -> tuple[list[int], list[int], list[int]]:
        """(token ids, positions, where each prompt ends) of the run."""
        ids, positions = list(self.segments[0].prompt_ids[: self.shared]), list(range(self.shared))
        for part in self.segments:
            ids += part.prompt_ids[self.shared :]
            positions += range(self.shared, len(part.prompt_ids))
        return ids, positions, [span.stop - 1 for span in self.spans]


@dataclass(slots=True)
class LaneStep:
    """One new token for each row of a lane: tokens `start` to `start + rows` of the run.

    lengths_R: tokens already in each slot, which is also the new token's position; longest: after this step.
    """

    lane: Lane
    start: int
    rows: int
    longest: int
    lengths_R: Tensor
    masks: dict[int | None, Tensor] = field(default_factory=dict)
    places: dict[int, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, like: Tensor) -> Tensor:
        """(R, 1, 1, longest) to add to the scores, made once a step and sliding window."""
        if window not in self.masks:
            position = torch.arange(self.longest, device=like.device)
            hidden = position > self.lengths_R[:, None]
            if window is not None:
                hidden |= position <= self.lengths_R[:, None] - window
            self.masks[window] = torch.zeros_like(hidden, dtype=like.dtype).masked_fill_(hidden, -torch.inf)[
                :, None, None
            ]
        return self.masks[window]

    def place(self, heads: int) -> Tensor:
        """Where each (row, head) of the new token goes in a buffer seen as (slots * heads * capacity, size)."""
        if heads not in self.places:
            row_head = torch.arange(self.rows * heads, device=self.lengths_R.device)
            self.places[heads] = row_head * self.lane.capacity + self.lengths_R.repeat_interleave(heads)
        return self.places[heads]


@dataclass(slots=True)
class DecodePlan:
    """One token a row, lane after lane."""

    lanes: list[LaneStep]


def slot_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    charter_plan: PrefillPlan | DecodePlan | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query (1, heads, T, size), key and value (1, kv heads, T, size); returns (1, T, heads, size).

    Honours grouped queries, sliding windows (by position), score soft-capping and attention sinks.
    Raises RuntimeError when it is called without a plan.
    """
    if charter_plan is None:
        raise RuntimeError("charter_slots attention runs only inside the generation engine: it needs a plan")
    how = _How(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap, s_aux)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    out = query.new_empty((query.shape[2], query.shape[1], value.shape[-1]))
    if isinstance(charter_plan, PrefillPlan):
        shared = charter_plan.shared
        for part, span in zip(charter_plan.segments, charter_plan.spans, strict=True):
            # The shared part is attended to again for every prompt: that is little beside the layers it is spared.
            q, k, v = (torch.cat((x[0, :, :shared], x[0, :, span]), 1) for x in (query, key, value))
            part.lane.store(layer, part.slots, k, v)
            if part.held is not None:
                part.held[layer] = (k, v)
            attended = _prompt(q, k, v, how).transpose(0, 1)
            out[:shared], out[span] = attended[:shared], attended[shared:]
    else:
        rows_q, rows_k, rows_v = (x[0].transpose(0, 1) for x in (query, key, value))
        for step in charter_plan.lanes:
            span = slice(step.start, step.start + step.rows)
            out[span] = _decode(step, layer, rows_q[span], rows_k[span], rows_v[span], how)
    return out[None], None


@dataclass(slots=True)
class _How:
    scaling: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None

    @property
    def plain(self) -> bool:
        return self.softcap is None and self.sinks is None


def _prompt(q_HTD: Tensor, k_HTD: Tensor, v_HTD: Tensor, how: _How) -> Tensor:
    length = q_HTD.shape[1]
    windowed = how.window is not None and how.window < length
    if how.plain and not windowed:
        return F.scaled_dot_product_attention(
            q_HTD[None], k_HTD[None], v_HTD[None], is_causal=True, scale=how.scaling, enable_gqa=True
        )[0]
    position = torch.arange(length, device=q_HTD.device)
    hidden = position > position[:, None]
    if windowed:
        hidden |= position <= position[:, None] - (how.window or 0)
    mask = torch.zeros_like(hidden, dtype=q_HTD.dtype).masked_fill_(hidden, -torch.inf)
    q = q_HTD.unflatten(0, (k_HTD.shape[0], -1))
    k, v = (x[:, None].expand(-1, q.shape[1], -1, -1) for x in (k_HTD, v_HTD))
    sinks = None if how.sinks is None else how.sinks.view(*q.shape[:2], 1, 1)
    return _attend(q, k, v, mask, how, sinks).flatten(0, 1)


def _decode(step: LaneStep, layer: int, q_RHD: Tensor, k_RHD: Tensor, v_RHD: Tensor, how: _How) -> Tensor:
    lane, (rows, heads, size) = step.lane, k_RHD.shape
    keys, values = lane.keys[layer], lane.values[layer]
    place = step.place(heads)
    keys.view(-1, size).index_copy_(0, place, k_RHD.reshape(-1, size))
    values.view(-1, v_RHD.shape[-1]).index_copy_(0, place, v_RHD.reshape(-1, v_RHD.shape[-1]))
    # The query heads that share a key head become "query positions": no copy of the keys for each of them.
    q = q_RHD.reshape(rows, heads, -1, size)
    k, v = keys[:rows, :, : step.longest], values[:rows, :, : step.longest]
    mask = step.mask(how.window, q)
    sinks = None if how.sinks is None else how.sinks.view(1, heads, -1, 1)
    return _attend(q, k, v, mask.expand(-1, -1, q.shape[2], -1), how, sinks).flatten(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, how: _How, sinks: Tensor | None) -> Tensor:
    if how.plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=how.scaling)
    scores = torch.matmul(q, k.transpose(-1, -2)).float() * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    scores = scores + mask
    if sinks is not None:
        scores = torch.cat((scores, sinks.float().expand(*scores.shape[:-1], 1)), -1)
    weights = torch.softmax(scores, -1)[..., : k.shape[-2]]
    return torch.matmul(weights.to(v.dtype), v)


def register() -> None:
    """Make the function known to transformers under NAME. It has no mask function: transformers then makes none."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, slot_attention)
