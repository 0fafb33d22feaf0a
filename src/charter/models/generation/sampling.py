"""Draw next tokens, each sample from its own counter-based random stream.

A draw depends on (seed, prompt tokens, sample index, step) and the logits, on nothing else: not on the batch or
the order of work. Tokens are drawn by inverting the cumulative distribution in vocabulary order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charter.records import Sampling

TIE = 1e-4
"""Closer than this, rounding may decide between two tokens (logits in nats, or cumulative probability)."""
_BLOCK = 256
_NUCLEUS = 256
_AT_ONCE = 16 * 49_152
"""Logits handled together on CPU: in fp32 they stay in cache, larger temporaries cost page faults."""


def stream_key(seed: int, prompt_ids: Sequence[int], sample_index: int) -> int:
    """The 64-bit key of a sample's random stream."""
    text = f"{seed}|{sample_index}|".encode() + np.asarray(prompt_ids, dtype="<i8").tobytes()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def uniforms(keys: Sequence[int], steps: Sequence[int]) -> np.ndarray:
    """Numbers in [0, 1) with 53 random bits, one per (key, step): SplitMix64 (Steele et al. 2014) as a counter."""
    with np.errstate(over="ignore"):
        z = np.asarray(keys, dtype=np.uint64) + np.asarray(steps, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    bits: np.ndarray = z >> np.uint64(11)
    return np.asarray(bits, dtype=np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Draw:
    """Per row: the token, its log-probability (nats), and whether rounding could have decided."""

    tokens: list[int]
    logprobs: list[float]
    ties: int


def draw(logits_RV: Tensor, samplings: Sequence[Sampling], keys: Sequence[int], steps: Sequence[int]) -> Draw:
    """One token per row. logits_RV: any float dtype, computed on in fp32."""
    most = max(_AT_ONCE // logits_RV.shape[1], 1)
    if len(samplings) > most and logits_RV.device.type == "cpu":
        runs = [slice(start, start + most) for start in range(0, len(samplings), most)]
        drawn = [draw(logits_RV[run], samplings[run], keys[run], steps[run]) for run in runs]
        return Draw(
            [token for part in drawn for token in part.tokens],
            [logprob for part in drawn for logprob in part.logprobs],
            sum(part.ties for part in drawn),
        )
    rows: dict[str, list[int]] = {"greedy": [], "plain": [], "nucleus": []}
    for index, sampling in enumerate(samplings):
        kind = "greedy" if sampling.temperature == 0 else "plain" if sampling.top_p >= 1 else "nucleus"
        rows[kind].append(index)
    tokens = [0] * len(samplings)
    logprobs = [0.0] * len(samplings)
    ties = 0
    for kind, indices in rows.items():
        if not indices:
            continue
        logits = logits_RV[torch.tensor(indices, device=logits_RV.device)].float()
        if kind == "greedy":
            parts = _greedy(logits)
        else:
            u = torch.from_numpy(uniforms([keys[i] for i in indices], [steps[i] for i in indices])).to(logits.device)
            heat = torch.tensor([[samplings[i].temperature] for i in indices], device=logits.device)
            scaled = logits / heat
            if kind == "plain":
                parts = _plain(scaled, u)
            else:
                top_p = torch.tensor([[samplings[i].top_p] for i in indices], dtype=torch.float64, device=logits.device)
                parts = _nucleus(scaled, u, top_p)
        for index, token, logprob in zip(indices, parts[0].tolist(), parts[1].tolist(), strict=True):
            tokens[index], logprobs[index] = token, logprob
        ties += int(parts[2].sum())
    return Draw(tokens, logprobs, ties)


Parts = tuple[Tensor, Tensor, Tensor]  # tokens, log-probabilities, tie flags; each of shape (rows,)


def _padded(values_RV: Tensor, fill: float) -> Tensor:
    """(R, V) as (R, V / block, block); the tail of the last block is `fill`."""
    short = -values_RV.shape[1] % _BLOCK
    if short:
        values_RV = torch.nn.functional.pad(values_RV, (0, short), value=fill)
    return values_RV.view(values_RV.shape[0], -1, _BLOCK)


def _greedy(logits_RV: Tensor) -> Parts:
    # Blocks first: top-2 over the whole vocabulary is five times slower on CPU than reading it once by blocks.
    blocks = _padded(logits_RV, -torch.inf)
    count = min(2, blocks.shape[1])
    places = blocks.amax(-1).topk(count, -1).indices.sort(-1).values
    inside = blocks.gather(1, places[..., None].expand(-1, -1, _BLOCK)).flatten(1)
    best = inside.argmax(-1, keepdim=True)  # the first of equals, as transformers picks
    top = inside.topk(2, -1).values
    token = places.gather(1, best // _BLOCK)[:, 0] * _BLOCK + best[:, 0] % _BLOCK
    return token, top[:, 0] - torch.logsumexp(logits_RV, -1), (top[:, 0] - top[:, 1]) < TIE


def _plain(scaled_RV: Tensor, u_R: Tensor) -> Parts:
    """The whole distribution: which block holds the draw, then where in the block, sums in fp64."""
    peak = scaled_RV.amax(-1, keepdim=True)
    mass = _padded(torch.exp(scaled_RV - peak), 0.0)
    upto = mass.sum(-1).double().cumsum(-1)
    total = upto[:, -1:]
    target = u_R[:, None] * total
    block = torch.searchsorted(upto, target, right=True).clamp(max=mass.shape[1] - 1)
    before = upto.gather(1, block) - mass.sum(-1).double().gather(1, block)
    chosen = mass.gather(1, block[..., None].expand(-1, -1, _BLOCK))[:, 0]
    return _inside(chosen, before, target, total, block[:, 0] * _BLOCK)


def _inside(mass_RK: Tensor, before: Tensor, target: Tensor, total: Tensor, offset_R: Tensor) -> Parts:
    """Invert the cumulative sum within one run of candidates that starts at mass `before`."""
    upto = mass_RK.double().cumsum(-1) + before
    index = torch.searchsorted(upto, target, right=True)
    # Rounding may leave the target past the run's end: step back to the last candidate that has any mass.
    last = torch.where(mass_RK > 0, torch.arange(mass_RK.shape[1], device=mass_RK.device), 0).amax(-1, keepdim=True)
    index = torch.minimum(index, last)
    high = upto.gather(1, index)
    chosen = mass_RK.double().gather(1, index)
    near = torch.minimum((high - target).abs(), (target - (high - chosen)).abs()) / total
    return offset_R + index[:, 0], (chosen / total).log()[:, 0], near[:, 0] < TIE


def _nucleus(scaled_RV: Tensor, u_R: Tensor, top_p_R1: Tensor) -> Parts:
    """The smallest set of most probable tokens whose probability reaches top_p (Holtzman et al. 2020), renormalised."""
    logs = torch.log_softmax(scaled_RV, -1)
    width = min(_NUCLEUS, logs.shape[1])
    top, ids = logs.topk(width, -1)
    if width < logs.shape[1] and bool((top.double().exp().sum(-1, keepdim=True) < top_p_R1).any()):
        top, ids = logs.sort(-1, descending=True)  # a flat distribution: rare, and slow
    mass = top.double().exp()
    before = mass.cumsum(-1) - mass
    keep = before < top_p_R1
    keep[:, 0] = True
    # In vocabulary order, so that near-equal tokens swapping rank does not move the boundaries.
    ids, order = ids.sort(-1)
    kept = torch.where(keep, mass, 0.0).gather(1, order)
    total = kept.sum(-1, keepdim=True)
    zero = torch.zeros_like(total)
    index, logprob, near = _inside(kept, zero, u_R[:, None] * total, total, torch.zeros_like(ids[:, 0]))
    # Rounding may also decide whether the nucleus holds one token more or less.
    at_edge = torch.minimum((before - top_p_R1).abs(), (before + mass - top_p_R1).abs()).amin(-1) < TIE
    return ids.gather(1, index[:, None])[:, 0], logprob, near | at_edge
