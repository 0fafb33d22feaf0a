"""What goes into the engine and what comes out: token ids only, no text."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from charter.records import Finish, Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to draw. Requests with equal `prompt_ids` share one prefill.

    key: the caller's name for it, returned with the result. sampling.n is ignored: one request is one sample.
    stream_seed and sample_index, with the prompt's tokens, name the random stream that the sample draws from.
    """

    key: Hashable
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    sample_index: int = 0
    stream_seed: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """A sample that is done. `tokens` ends with the stop token when one was drawn.

    logprobs (nats), one a token: of the distribution really sampled from (after temperature and top-p); for greedy
    decoding, which samples from nothing, of the model's own distribution (temperature 1).
    stopped_by: "token", "string", or None when it ran out of length or failed (then `error` says why).
    """

    key: Hashable
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    stopped_by: str | None = None
    error: str | None = None


@dataclass(slots=True)
class EngineStats:
    """Counters since the engine was made. `seconds` is time spent inside `step`."""

    prompts: int = 0
    """Samples that were given a prompt's cache, whether computed for them or shared."""
    prefills: int = 0
    """Distinct prompts computed."""
    prefilled_tokens: int = 0
    shared_prompts: int = 0
    """Samples that took a prompt's cache from another sample."""
    decoded_tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    ties: int = 0
    """Draws that rounding decides: the top two logits, or the draw and its boundary, closer than 1e-4."""
    truncated: int = 0
    """Samples that ended because of max_tokens or the model's context, not by a stop."""
    errors: int = 0

    def __str__(self) -> str:
        rate = self.decoded_tokens / self.seconds if self.seconds else 0.0
        return (
            f"{self.prompts} samples, {self.prefills} prompts ({self.prefilled_tokens} tokens) prefilled, "
            f"{self.shared_prompts} shared, {self.decoded_tokens} tokens in {self.steps} steps, {self.seconds:.1f} s "
            f"({rate:.0f} tokens/s), {self.ties} ties, {self.truncated} cut at their length, {self.errors} errors"
        )
