"""Plain batches through transformers' own `generate`, for architectures that the slot cache cannot serve.

Only the drawing of tokens is ours (a logits processor draws, and leaves `generate` one choice), so random streams,
log-probabilities, ties and stops mean the same as in the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charter.models.generation.cache import Row
from charter.models.generation.sampling import draw
from charter.models.generation.types import EngineStats, Finished

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PlainBatches:
    """Batches of waiting rows, run to their end one batch a step.

    Attention models are padded on the left; models with a recurrent state, which padding would change, are batched only
    with prompts of equal length.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: frozenset[int],
        stops_at: Callable[[Row], str | None],
        max_rows: int,
        stats: EngineStats,
    ) -> None:
        self.waiting: list[Row] = []
        self._model, self._stop_ids, self._stops_at = model, stop_ids, stops_at
        self._max_rows, self._stats = max_rows, stats
        recurrent = bool(getattr(model, "_is_stateful", False))
        layers = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ()
        self._pad = not recurrent and all("attention" in kind and "linear" not in kind for kind in layers)

    def step(self) -> list[Finished]:
        """Run one batch to its end."""
        self.waiting.sort(key=lambda row: len(row.request.prompt_ids))
        batch = self.waiting[: self._max_rows]
        if not self._pad:
            batch = [row for row in batch if row.cached == batch[0].cached]
        del self.waiting[: len(batch)]
        if not batch:
            return []
        return self._run(batch)

    def _run(self, batch: list[Row]) -> list[Finished]:
        from transformers import GenerationConfig, LogitsProcessorList

        width = max(row.cached for row in batch)
        device = self._model.device
        # Any token serves as padding: the mask hides it.
        ids = torch.tensor([[0] * (width - row.cached) + list(row.request.prompt_ids) for row in batch], device=device)
        mask = torch.tensor([[0] * (width - row.cached) + [1] * row.cached for row in batch], device=device)
        drawing = _Drawing(batch, self._stops_at, self._stats)
        own = self._model.generation_config
        training = self._model.training
        self._model.eval()
        try:
            generate: Any = self._model.generate
            generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=GenerationConfig(
                    max_new_tokens=max(row.limit for row in batch),
                    do_sample=False,
                    pad_token_id=0,
                    eos_token_id=None,
                    bos_token_id=own.bos_token_id if own is not None else None,
                ),
                logits_processor=LogitsProcessorList([drawing]),
                stopping_criteria=[drawing.all_done],
            )
        finally:
            self._model.train(training)
        self._stats.prompts += len(batch)
        self._stats.prefills += len(batch)
        self._stats.prefilled_tokens += sum(row.cached for row in batch)
        return drawing.finished


class _Drawing:
    """A logits processor of transformers that draws with our streams and then leaves only the drawn token."""

    def __init__(self, rows: list[Row], stops_at: Callable[[Row], str | None], stats: EngineStats) -> None:
        self.finished: list[Finished] = []
        self._rows: list[Row | None] = list(rows)
        self._stops_at, self._stats = stops_at, stats

    def __call__(self, _input_ids: Tensor, scores: Tensor) -> Tensor:
        live = [(index, row) for index, row in enumerate(self._rows) if row is not None]
        drawn = draw(
            scores[torch.tensor([index for index, _ in live], device=scores.device)],
            [row.request.sampling for _, row in live],
            [row.stream for _, row in live],
            [len(row.tokens) for _, row in live],
        )
        self._stats.ties += drawn.ties
        self._stats.decoded_tokens += len(live)
        self._stats.steps += 1
        only = torch.full_like(scores, -torch.inf)
        only[:, 0] = 0.0
        for (index, row), token, logprob in zip(live, drawn.tokens, drawn.logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            only[index, 0] = -torch.inf
            only[index, token] = 0.0
            stopped = self._stops_at(row)
            if stopped or len(row.tokens) >= row.limit:
                self._stats.truncated += not stopped
                self.finished.append(row.finished(stopped))
                self._rows[index] = None
        return only

    def all_done(self, input_ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        """A stopping criterion: true for the rows that have ended."""
        return torch.tensor([row is None for row in self._rows], device=input_ids.device)
