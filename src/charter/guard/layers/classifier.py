"""The charter classifier on the way in: harm, jailbreaks and injections by meaning, window by window.

What was encoded in the text is read too, and so is text beside the prompt that no user wrote, where an instruction to
the model is out of place (`embedded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from charter.guard.encoder import Encoder, Window, encoder
from charter.guard.head import Floats, Head, load_head
from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding, Span

WEIGHTS: Final = Path(__file__).parents[1] / "weights"
HARM: Final = ("crime", "hate", "sexual", "violence", "self_harm")
STOPPING: Final = ("harm", "jailbreak", "injection")
SMALL: Final = 40
SMALL_STRIDE: Final = 30
SMALL_MARGIN: Final = 0.5
"""Tokens of a small window and between their beginnings; logits by which it must be surer."""
MIN_DECODED: Final = 12
"""Code points below which a decoded piece says too little to be read on its own."""


@cache
def shipped_head() -> Head:
    """The head in the package."""
    return load_head(WEIGHTS / "classifier.safetensors")


@dataclass(frozen=True, slots=True)
class Reading:
    """One text read: raw logits of its windows, shape (W, K), and the windows."""

    logits: Floats
    windows: tuple[Window, ...]

    def top(self, kind: int) -> tuple[float, Window]:
        """The highest logit of a kind and its window."""
        best = int(self.logits[:, kind].argmax())
        return float(self.logits[best, kind]), self.windows[best]


def read(text: str, head: Head, over: Encoder) -> Reading:
    """The text's windows through the encoder and the head.

    In a text of several windows, small ones are read for harm too, because a whole window of harmless padding would
    drown a sentence. They must be surer by SMALL_MARGIN: so no more of the held-out everyday prompts are stopped.
    """
    windows = over.tokens.windows(text)
    if len(windows) == 1:
        return Reading(head.logits(over.embed_windows(windows)), tuple(windows))
    small = over.tokens.windows(text, SMALL, SMALL_STRIDE)
    logits = head.logits(over.embed_windows([*windows, *small]))
    harm = [i for i, kind in enumerate(head.kinds) if kind == "harm" or kind in HARM]
    others = [i for i in range(len(head.kinds)) if i not in harm]
    logits[len(windows) :, harm] -= SMALL_MARGIN
    logits[len(windows) :, others] = -np.inf
    return Reading(logits, (*windows, *small))


class ClassifierLayer:
    """Blocks harm, jailbreaks and injections from STOP_AT on; the clause is the likeliest kind of harm."""

    name = "classifier"

    def __init__(self, head: Head | None = None, clauses: dict[str, tuple[str, ...]] | None = None) -> None:
        """head: None takes the shipped one. clauses: per kind the clause ids that it stands for; a kind that is not
        there stands for itself.

        Raises UserError when the encoder's wheel or the head cannot be read.
        """
        self._head = head or shipped_head()
        self._encoder = encoder()
        self._clauses = clauses or {}
        self._place = {kind: i for i, kind in enumerate(self._head.kinds)}

    def check(self, subject: Subject) -> Finding:
        hidden = [piece.text for piece in subject.plain.decoded if len(piece.text) >= MIN_DECODED]
        texts = [subject.plain.text, *hidden, *subject.earlier]
        readings = [read(text, self._head, self._encoder) for text in texts]
        scores = {kind: self._score(kind, readings) for kind in STOPPING}
        if subject.untrusted:
            beside = read(subject.untrusted, self._head, self._encoder)
            scores["embedded"] = self._head.chance("embedded", beside.top(self._place["embedded"])[0])
        top = max(scores, key=scores.__getitem__)
        if scores[top] < STOP_AT:
            return Finding(score=scores[top])
        stopped = [kind for kind in scores if scores[kind] >= STOP_AT]
        named = [self._harm_kind(readings) if kind == "harm" else kind for kind in stopped]
        named = ["injection" if kind == "embedded" else kind for kind in named]
        clauses = tuple(c for kind in dict.fromkeys(named) for c in self._clauses.get(kind, (kind,)))
        return Finding("block", scores[top], clauses, self._spans(stopped, readings[0], subject), ", ".join(named))

    def _score(self, kind: str, readings: list[Reading]) -> float:
        raw = max(reading.top(self._place[kind])[0] for reading in readings)
        return self._head.chance(kind, raw)

    def _harm_kind(self, readings: list[Reading]) -> str:
        logits = np.concatenate([reading.logits for reading in readings])
        return max(HARM, key=lambda kind: float(logits[:, self._place[kind]].max()))

    def _spans(self, stopped: list[str], reading: Reading, subject: Subject) -> tuple[Span, ...]:
        """The windows that stop the text; all of it where disguises were taken off and places do not agree."""
        spans = []
        for kind in stopped:
            if kind == "embedded":
                continue
            raw, window = reading.top(self._place[kind])
            if self._head.chance(kind, raw) >= STOP_AT:
                same = subject.plain.text == subject.text
                spans.append(Span(window.start if same else 0, window.end if same else len(subject.text), kind))
        return tuple(spans)
