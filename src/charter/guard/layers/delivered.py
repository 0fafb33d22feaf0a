"""The charter classifier on the way out: whether prompt and completion together deliver harm.

Also where the completion begins as a refusal and then delivers: each window of the completion is read with the prompt,
and the worst one counts, so a kind opening takes nothing off what follows it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from charter.guard.encoder import Encoder, Window, encoder
from charter.guard.head import Floats, Head, load_head
from charter.guard.layers.classifier import WEIGHTS
from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding, Span

_DECLINES: Final = (
    "i can't", "i cannot", "i can’t", "i'm sorry", "i am sorry", "i won't", "i’m sorry",
    "unable to", "not able to", "i must decline",
)  # fmt: skip


@cache
def output_head() -> Head:
    """The output head in the package."""
    return load_head(WEIGHTS / "delivered.safetensors")


def joined(prompt_D: Floats, completion_WD: Floats) -> Floats:
    """What the head reads of each window: the completion, the prompt, and their product, shape (W, 3 * 384)."""
    prompt_WD = np.broadcast_to(prompt_D, completion_WD.shape)
    return np.concatenate([completion_WD, prompt_WD, completion_WD * prompt_WD], axis=1)


def read_exchange(prompt: str, completion: str, over: Encoder) -> tuple[Floats, list[Window]]:
    """The features of each window of the completion beside the opening of the prompt, and the windows."""
    windows = over.tokens.windows(completion)
    embeddings = over.embed_windows([over.tokens.windows(prompt)[0], *windows])
    return joined(embeddings[0], embeddings[1:]), windows


class DeliveredLayer:
    """Blocks completions that deliver harm, from STOP_AT on."""

    name = "classifier"

    def __init__(self, head: Head | None = None, clauses: tuple[str, ...] = ("harm",)) -> None:
        self._head = head or output_head()
        self._encoder = encoder()
        self._clauses = clauses

    def check(self, subject: Subject) -> Finding:
        found, windows = read_exchange(subject.asked, subject.text, self._encoder)
        logits_W = self._head.logits(found)[:, 0]
        worst = int(logits_W.argmax())
        score = self._head.chance("delivered", float(logits_W[worst]))
        if score < STOP_AT:
            return Finding(score=score)
        declines = any(phrase in subject.text[:200].lower() for phrase in _DECLINES)
        reason = "a refusal that delivers" if declines else "delivers harm"
        span = Span(windows[worst].start, windows[worst].end, "delivered")
        return Finding("block", score, self._clauses, (span,), reason)
