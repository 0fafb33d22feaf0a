"""Continuous batching on a local model: prompts prefilled once, finished rows dropped, waiting prompts admitted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from charter.models.beginning import common_beginning, own_share, prefill_sets, side_by_side
from charter.models.generation.attention import DecodePlan, LaneStep, PrefillPlan, Segment
from charter.models.generation.cache import Lane, Row, lane_capacity
from charter.models.generation.plain import PlainBatches
from charter.models.generation.sampling import draw, stream_key
from charter.models.generation.support import cache_bytes_per_token, context_of, generating, why_plain
from charter.models.generation.types import EngineStats, Finished, Request
from charter.ports import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

_CACHE_BYTES = 4 * 2**30
_PREFILL_TOKENS = 2048

Decode = Callable[[Sequence[int]], str]


@dataclass(slots=True, eq=False)
class _Waiting:
    """The requests of one prompt that have no slot yet; `held` is the prompt's cache once it is computed."""

    prompt_ids: tuple[int, ...]
    requests: list[Request] = field(default_factory=list)
    held: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    logits_1V: Tensor | None = None


class Engine:
    """Draws samples for requests, many at a time. Not thread-safe: one thread owns it.

    model: a causal language model of transformers (or peft's wrapper of one), left as it was found whenever no call is
    in progress and `attached()` is not held.
    stop_ids: tokens that end a sample.  decode: token ids to text, needed only for stop strings.
    max_rows: most samples decoded together.  token_budget: most cache tokens reserved (default: what fits 4 GiB).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: Collection[int],
        decode: Decode | None = None,
        max_rows: int = 128,
        token_budget: int | None = None,
    ) -> None:
        if max_rows < 1:
            raise ValueError("max_rows must be at least 1")
        # peft's wrapper only forwards; its layers live inside the model that it wraps.
        unwrap = getattr(model, "get_base_model", None)
        self.model: PreTrainedModel = unwrap() if unwrap is not None else model
        self.stop_ids = frozenset(stop_ids)
        self.stats = EngineStats()
        self._decode_text = decode
        self._max_rows = max_rows
        self._context = context_of(self.model)
        self._budget = token_budget or _CACHE_BYTES // cache_bytes_per_token(self.model)
        self._waiting: dict[tuple[int, ...], _Waiting] = {}
        self._lanes: dict[int, Lane] = {}
        self._done: list[Finished] = []
        self._shared = 0
        self._attached = False
        self._plain: PlainBatches | None = None
        self.plain_because = why_plain(self.model)
        """Why this model is served in plain batches through transformers' generate; None when it has slots."""
        if self.plain_because:
            log.warning("%s: generating in plain batches, because %s", type(self.model).__name__, self.plain_because)
            self._plain = PlainBatches(self.model, self.stop_ids, self._stops_at, max_rows, self.stats)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._waiting or self._lanes or self._done or (self._plain and self._plain.waiting))

    def add(self, request: Request) -> None:
        """Queue a request. One that cannot be answered finishes at the next step with an error."""
        sampling, length = request.sampling, len(request.prompt_ids)
        if sampling.stop and self._decode_text is None:
            raise ValueError("stop strings need the engine's `decode`")
        if sampling.max_tokens < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
            raise ValueError(f"max_tokens must be >= 1, temperature >= 0 and top_p in (0, 1]; got {sampling}")
        problem = None
        if not length:
            problem = "the prompt has no tokens"
        elif self._context is not None and length >= self._context:
            problem = (
                f"the prompt has {length} tokens and the model's context is {self._context}: no room for an answer"
            )
        if problem:
            self.stats.errors += 1
            self._done.append(Finished(request.key, (), (), "error", error=problem))
        elif self._plain is not None:
            self._plain.waiting.append(self._row(request))
        else:
            self._waiting.setdefault(request.prompt_ids, _Waiting(request.prompt_ids)).requests.append(request)

    def run(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Finished]:
        """All of them, in the order given."""
        if len({request.key for request in requests}) != len(requests):
            raise ValueError("request keys must be distinct")
        results: dict[object, Finished] = {}
        with self.attached():
            # No long straggler is left for the end, and a prefill computes what its prompts begin with once.
            lengths = [len(request.prompt_ids) + request.sampling.max_tokens for request in requests]
            prompts = [request.prompt_ids for request in requests]
            self._shared = common_beginning(prompts)
            for index in side_by_side(prompts, lengths):
                self.add(requests[index])
            while self.busy:
                for finished in self.step():
                    results[finished.key] = finished
                if progress is not None:
                    progress(len(results), len(requests))
        return [results[request.key] for request in requests]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hold the model in generation state (eval, our attention) over several steps; restored at the end."""
        if self._attached or self._plain is not None:
            yield
            return
        with generating(self.model):
            self._attached = True
            try:
                yield
            finally:
                self._attached = False

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Admit what fits, decode one token for every row, and return the samples that ended."""
        begun = time.perf_counter()
        with self.attached():
            if self._plain is not None:
                self._done += self._plain.step()
            else:
                while self._admit():
                    pass
                self._decode()
        self.stats.seconds += time.perf_counter() - begun
        done, self._done = self._done, []
        return done

    def clear(self) -> None:
        """Forget everything waiting and in flight."""
        self._waiting.clear()
        self._lanes.clear()
        self._done.clear()
        if self._plain is not None:
            self._plain.waiting.clear()

    def _row(self, request: Request) -> Row:
        length = len(request.prompt_ids)
        limit = request.sampling.max_tokens
        if self._context is not None:
            limit = min(limit, self._context - length)
        stream = stream_key(request.stream_seed, request.prompt_ids, request.sample_index)
        return Row(request, stream, limit, cached=length)

    def _admit(self) -> bool:
        """Give slots to waiting requests, at most one prefill's worth; whether there may be room for more."""
        live = sum(row is not None for lane in self._lanes.values() for row in lane.rows)
        free = self._max_rows - live
        # A prefill interrupts every row: wait until it fills a fair share of the slots.
        if not self._waiting or (live and free < max(1, self._max_rows // 4)):
            return False
        room = self._budget - sum(lane.capacity * len(lane.rows) for lane in self._lanes.values())
        fresh: list[tuple[_Waiting, Segment]] = []
        tokens = 0
        for group in list(self._waiting.values()):
            if free < 1 or tokens >= _PREFILL_TOKENS:
                break
            # Samples of one prompt mostly may grow to the same length; those that may not wait for the next turn.
            capacity = self._capacity(group.requests[0])
            count = next(
                (i for i, r in enumerate(group.requests) if self._capacity(r) != capacity), len(group.requests)
            )
            count = min(count, free, room // capacity)
            if count < 1:
                if live or fresh:
                    break
                count = 1  # larger than the whole budget: it runs alone
            lane = self._lanes.setdefault(capacity, Lane(capacity))
            slots = [lane.place(self._row(request)) for request in group.requests[:count]]
            del group.requests[:count]
            free, room, live = free - count, room - capacity * count, live + count
            self.stats.prompts += count
            if not group.requests:
                del self._waiting[group.prompt_ids]
            if group.logits_1V is None:
                held = group.held if group.requests else None
                fresh.append((group, Segment(group.prompt_ids, lane, slots, held)))
                tokens += len(group.prompt_ids)
                if len(fresh) > 1:
                    tokens -= own_share(fresh[0][0].prompt_ids, group.prompt_ids, self._shared)
                self.stats.shared_prompts += count - 1
            else:
                for layer, (keys, values) in group.held.items():
                    lane.store(layer, slots, keys, values)
                self.stats.shared_prompts += count
                self._take([(lane, slot) for slot in slots], group.logits_1V.expand(count, -1))
        if fresh:
            self._prefill(fresh)
        return bool(fresh)

    def _capacity(self, request: Request) -> int:
        row = self._row(request)
        return lane_capacity(row.cached + row.limit)

    def _prefill(self, fresh: list[tuple[_Waiting, Segment]]) -> None:
        for places in prefill_sets([part.prompt_ids for _, part in fresh]):
            self._prefill_together([fresh[place] for place in places])

    def _prefill_together(self, fresh: list[tuple[_Waiting, Segment]]) -> None:
        plan = PrefillPlan([part for _, part in fresh])
        ids, positions, last = plan.run()
        logits_PV = self._forward(ids, positions, plan, torch.tensor(last, device=self.model.device))
        self.stats.prefills += len(fresh)
        self.stats.prefilled_tokens += len(ids)
        rows = [(part.lane, slot) for _, part in fresh for slot in part.slots]
        repeats = torch.tensor([len(part.slots) for _, part in fresh], device=logits_PV.device)
        for index, (group, _) in enumerate(fresh):
            if group.requests:
                group.logits_1V = logits_PV[index : index + 1].clone()
        self._take(rows, logits_PV if len(rows) == len(fresh) else logits_PV.repeat_interleave(repeats, 0))

    def _decode(self) -> None:
        for capacity, lane in list(self._lanes.items()):
            lane.compact()
            if not lane.rows:
                del self._lanes[capacity]
        if not self._lanes:
            return
        steps: list[LaneStep] = []
        places: list[tuple[Lane, int]] = []
        ids: list[int] = []
        positions: list[int] = []
        for lane in self._lanes.values():
            rows = [row for row in lane.rows if row is not None]
            lengths = [row.cached for row in rows]
            lengths_R = torch.tensor(lengths, device=self.model.device)
            steps.append(LaneStep(lane, len(ids), len(rows), max(lengths) + 1, lengths_R))
            places += [(lane, slot) for slot in range(len(rows))]
            ids += [row.tokens[-1] for row in rows]
            positions += lengths
        logits_RV = self._forward(ids, positions, DecodePlan(steps), 0)
        for lane in self._lanes.values():
            for row in lane.rows:
                if row is not None:
                    row.cached += 1
        self.stats.steps += 1
        self._take(places, logits_RV)

    def _forward(
        self, ids: list[int], positions: list[int], plan: PrefillPlan | DecodePlan, keep: int | Tensor
    ) -> Tensor:
        """Logits (kept positions, vocabulary) of one flat run of tokens; the head runs only where it is kept."""
        device = self.model.device
        return self.model(  # type: ignore[no-any-return]
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=keep,
            charter_plan=plan,
        ).logits[0]

    def _take(self, places: list[tuple[Lane, int]], logits_RV: Tensor) -> None:
        """Draw a token for each of the rows; those that end leave their slot."""
        rows = [row for lane, slot in places if (row := lane.rows[slot]) is not None]
        drawn = draw(
            logits_RV,
            [row.request.sampling for row in rows],
            [row.stream for row in rows],
            [len(row.tokens) for row in rows],
        )
        self.stats.ties += drawn.ties
        self.stats.decoded_tokens += len(rows)
        for (lane, slot), row, token, logprob in zip(places, rows, drawn.tokens, drawn.logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            stopped = self._stops_at(row)
            if stopped or len(row.tokens) >= row.limit:
                lane.rows[slot] = None
                self.stats.truncated += not stopped
                self._done.append(row.finished(stopped))

    def _stops_at(self, row: Row) -> str | None:
        """What ends the row after its newest token, if anything does."""
        if row.tokens[-1] in self.stop_ids:
            return "token"
        stops = row.request.sampling.stop
        if stops and self._decode_text is not None:
            # A token is at least one byte: the string, if just completed, lies within this many last tokens.
            reach = max(len(stop.encode()) for stop in stops) + 4
            tail = self._decode_text(row.tokens[-reach:])
            if any(stop in tail for stop in stops):
                return "string"
        return None
