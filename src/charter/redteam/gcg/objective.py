"""The loss of many suffixes at once, and its gradient: each token of a sequence is computed as rarely as may be.

What comes before the suffix is computed once for all steps. The gradient's own forward leaves the keys and values of
the current suffix, and a candidate differs from that in few places, so it is computed from its first changed token on.
Logits exist at the target's positions alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charter.redteam.gcg.problem import Problem
from charter.training.fused import exchanged, exchanges

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RUN_TOKENS = 1024
"""Tokens of one forward over candidates: enough to fill the processor, few enough that logits stay small."""
Cached = list[tuple[Tensor, Tensor]]
"""Per layer, keys and values (1, heads, tokens, size)."""


class Objective:
    """Negative log-likelihood of one problem's target, in nats a token, as a function of the suffix.

    mellowmax: sharpness ω of the mean over the target's tokens, mm(x) = log(mean exp(ω x)) / ω (Asadi and Littman
    2017): between the mean (ω → 0) and the worst token (ω → ∞). None is the mean.
    Use it inside `ready()`.
    """

    def __init__(self, model: PreTrainedModel, problem: Problem, mellowmax: float | None = None) -> None:
        self.problem = problem
        self._model: Any = model
        self._embed: Any = model.get_input_embeddings()
        self._mellowmax = mellowmax
        self.device = model.device
        self._target_T = torch.tensor(problem.target, device=self.device)
        self._tail = torch.tensor([*problem.after, *problem.target], device=self.device)
        self._before: Cached | None = None
        self._current: tuple[Tensor, Cached] | None = None

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding matrix."""
        return int(self._embed.weight.shape[0])

    def gradient(self, suffix_N: Tensor) -> tuple[float, Tensor]:
        """(loss, its gradient by the one-hot choice of each token (N, V), fp32) at a suffix.

        A one-hot row times the embedding matrix E is the token's embedding, so this is dL/d(embedding) · E^T.
        """
        count = len(suffix_N)
        with torch.enable_grad():
            chosen = self._embed(suffix_N).detach().requires_grad_(True)
            embeddings = torch.cat((chosen, self._embed(self._tail).detach()))[None]
            logits, cache = self._forward(inputs_embeds=embeddings, past=self._prefix(), keep=True)
            loss = self._loss(logits)[0]
            (by_embedding,) = torch.autograd.grad(loss, chosen)
        length = len(self.problem.before) + count
        self._current = suffix_N, [(k[:, :, :length].detach(), v[:, :, :length].detach()) for k, v in cache]
        scale = getattr(self._embed, "embed_scale", 1.0)
        return float(loss.detach()), by_embedding.float() @ self._embed.weight.detach().float().T * scale

    @torch.no_grad()
    def losses(self, suffixes_CN: Tensor) -> Tensor:
        """The loss of each suffix, (C,) fp32. Cheapest for those that begin as the suffix last given to `gradient`."""
        count, length = suffixes_CN.shape
        kept, cache = self._current or (suffixes_CN[0], self._prefix())
        known = len(kept) if self._current else 0
        same = (
            (suffixes_CN[:, :known] == kept[:known]).long().cumprod(1).sum(1) if known else suffixes_CN.new_zeros(count)
        )
        if not self.problem.after:
            # The suffix's last token predicts the target's first, so it must be run.
            same = same.clamp(max=length - 1)
        order = same.argsort(descending=True)
        result = torch.empty(count, dtype=torch.float32, device=self.device)
        start = 0
        while start < count:
            # Sorted by where they part from the known suffix, so that the next run begins where its last row does.
            run = self._run_of(same[order], start, length)
            rows = order[start : start + run]
            shared = int(same[rows].min())
            ids = torch.cat((suffixes_CN[rows, shared:], self._tail.expand(len(rows), -1)), 1)
            until = len(self.problem.before) + shared
            past = [(k[:, :, :until], v[:, :, :until]) for k, v in cache]
            logits, _ = self._forward(input_ids=ids, past=past, keep=False)
            result[rows] = self._loss(logits)
            start += run
        return result

    @torch.no_grad()
    def answers(self, suffix_N: Tensor) -> bool:
        """Whether greedy decoding would give the target."""
        ids = torch.cat((suffix_N, self._tail))[None]
        logits, _ = self._forward(input_ids=ids, past=self._prefix(), keep=False)
        return bool((logits[0].argmax(-1) == self._target_T).all())

    def _run_of(self, same_C: Tensor, start: int, length: int) -> int:
        """How many rows from `start` to run together."""
        own = length - int(same_C[start]) + len(self._tail)
        rows = max(1, _RUN_TOKENS // own)
        longest = length - int(same_C[min(start + rows, len(same_C)) - 1]) + len(self._tail)
        return max(1, min(rows, _RUN_TOKENS // longest, len(same_C) - start))

    @torch.no_grad()
    def _prefix(self) -> Cached:
        if self._before is None:
            if not self.problem.before:
                self._before = []
            else:
                ids = torch.tensor([self.problem.before], device=self.device)
                _, self._before = self._forward(input_ids=ids, past=[], keep=True)
        return self._before

    def _forward(self, *, past: Cached, keep: bool, **inputs: Tensor) -> tuple[Tensor, Cached]:
        """Logits that predict the target (rows, T, V), and the cache where it is to be kept.

        past: of one row; all rows share it.
        """
        from transformers import DynamicCache

        rows = next(iter(inputs.values())).shape[0]
        cache: Any = DynamicCache()
        for layer, (keys, values) in enumerate(past):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        output = self._model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=len(self._target_T) + 1)
        found = [(layer.keys, layer.values) for layer in output.past_key_values.layers] if keep else []
        return output.logits[:, :-1], found

    def _loss(self, logits_RTV: Tensor) -> Tensor:
        """(R,) in fp32, a few rows at a time: their logits stay in cache."""
        parts = []
        for logits in logits_RTV.split(8):
            wide = logits.float()
            chosen = wide.gather(-1, self._target_T.expand(len(wide), -1)[..., None])[..., 0]
            parts.append(torch.logsumexp(wide, -1) - chosen)
        losses_RT = torch.cat(parts)
        if self._mellowmax is None:
            return losses_RT.mean(-1)
        sharp = self._mellowmax
        log_count = torch.log(torch.tensor(float(losses_RT.shape[1])))
        return (torch.logsumexp(sharp * losses_RT, -1) - log_count) / sharp


@contextmanager
def ready(model: PreTrainedModel) -> Iterator[None]:
    """The model as these computations want it (eval mode, no trainable weight, fused norms), restored at the end."""
    training = model.training
    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    model.eval()
    for weight in wanted:
        weight.requires_grad_(False)
    try:
        with exchanged(exchanges(model)):
            yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)
        model.train(training)
