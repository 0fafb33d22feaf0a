"""The stack: layers over one text, each with a deadline and a rule for when it fails, and a record of every one.

A stack holds no state about what it checked: the same text gives the same decision, and any number of threads may
check at once. Layers of one stage run side by side; a later stage runs only when the earlier ones did not stop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, TimeoutError
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from charter.guard.subject import Subject
from charter.guard.verdicts import (
    STOPS,
    Decision,
    Finding,
    LayerRecord,
    Side,
    Span,
    combined_score,
    redacted,
    worst,
)  # fmt: skip
from charter.guard.workers import Workers
from charter.records import Conversation, asked_of, user_prompt

OnError = Literal["closed", "open"]
DEADLINE_SECONDS: Final = 5.0
THREADS: Final = 4
"""Texts that one layer checks at once."""


class Layer(Protocol):
    """One kind of check."""

    @property
    def name(self) -> str: ...

    def check(self, subject: Subject) -> Finding:
        """What it finds. May raise: the stack's rule for the layer then decides."""
        ...


@dataclass(frozen=True)
class Place:
    """A layer's place in the stack.

    stage: stages run in order; layers of one stage side by side. deadline: seconds after which it counts as failed.
    on_error: what a failure means: "closed" stops the text with the verdict error, "open" lets it pass, recorded.
    """

    layer: Layer
    stage: int = 1
    deadline: float = DEADLINE_SECONDS
    on_error: OnError = "closed"


class Stack:
    """Input and output layers. Build it once, use it from any thread."""

    def __init__(self, input_places: Sequence[Place], output_places: Sequence[Place]) -> None:
        """Raises ValueError when two layers of a side share a name or a deadline is not positive."""
        self._places: dict[Side, tuple[Place, ...]] = {"input": tuple(input_places), "output": tuple(output_places)}
        self._workers: dict[int, Workers] = {}
        for places in self._places.values():
            names = [place.layer.name for place in places]
            if len(set(names)) < len(names):
                raise ValueError(f"two layers of one side share a name: {', '.join(sorted(names))}")
            for place in places:
                if not place.deadline > 0:
                    raise ValueError(f"the deadline of layer {place.layer.name} must be above 0 seconds")
                self._workers.setdefault(id(place.layer), Workers(f"guard-{place.layer.name}", THREADS))

    def layers(self, side: Side) -> tuple[str, ...]:
        """The names of that side's layers in their order."""
        return tuple(place.layer.name for place in self._places[side])

    def check_input(self, prompt: Conversation | str, context: str = "") -> Decision:
        """Check what a model is about to be given. Spans point into the last user message.

        context: documents or tool results supplied beside the prompt; they are searched for instructions.
        """
        conversation = user_prompt(prompt) if isinstance(prompt, str) else prompt
        return self._decide(Subject(asked_of(conversation), "input", conversation, context))

    def check_output(self, prompt: Conversation | str, completion: str, context: str = "") -> Decision:
        """Check what a model said. Spans point into the completion.

        context: what the completion must not leak or should rest on, beside the prompt's own system message.
        """
        conversation = user_prompt(prompt) if isinstance(prompt, str) else prompt
        return self._decide(Subject(completion, "output", conversation, context))

    def _decide(self, subject: Subject) -> Decision:
        places = self._places[subject.side]
        records: dict[str, LayerRecord] = {}
        for stage in sorted({place.stage for place in places}):
            inside = [place for place in places if place.stage == stage]
            stopper = next((r.name for r in records.values() if r.finding.verdict in STOPS), None)
            if stopper:
                reason = Finding(reason=f"{stopper} had already stopped the text")
                records |= {p.layer.name: LayerRecord(p.layer.name, "skipped", reason, 0.0) for p in inside}
            else:
                records |= {record.name: record for record in self._stage(inside, subject)}
        ordered = tuple(records[place.layer.name] for place in places)
        return decision(subject.text, ordered)

    def _stage(self, places: list[Place], subject: Subject) -> list[LayerRecord]:
        """Run the layers side by side and collect what each found before its own deadline."""
        begun = time.perf_counter()
        # All on workers, the last one too: a hang must never reach the caller's thread.
        running = [(place, self._start(place, subject)) for place in places]
        return [_collect(place, future, begun) for place, future in running]

    def _start(self, place: Place, subject: Subject) -> Future[tuple[Finding, float]]:
        def work() -> tuple[Finding, float]:
            begun = time.perf_counter()
            found = place.layer.check(subject)
            return found, (time.perf_counter() - begun) * 1e3

        return self._workers[id(place.layer)].submit(work)


def _collect(place: Place, future: Future[tuple[Finding, float]], begun: float) -> LayerRecord:
    """The layer's record, waiting no longer than its deadline from the stage's beginning."""
    name = place.layer.name
    try:
        left = place.deadline - (time.perf_counter() - begun)
        found, ms = future.result(timeout=max(left, 0.0))
        return LayerRecord(name, "ran", found, ms)
    except (TimeoutError, CancelledError):
        future.cancel()
        reason = f"no answer within its deadline of {place.deadline:g} s"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    ms = (time.perf_counter() - begun) * 1e3
    verdict: Literal["error", "allow"] = "error" if place.on_error == "closed" else "allow"
    return LayerRecord(name, "failed", Finding(verdict, None, reason=reason), ms)


def decision(text: str, records: tuple[LayerRecord, ...]) -> Decision:
    """What follows from the layers' records: the worst verdict wins, spans of all layers are reported."""
    verdict = worst([record.finding.verdict for record in records])
    clauses = tuple(dict.fromkeys(c for record in records for c in record.finding.clauses))
    spans = tuple(
        sorted({s for r in records for s in r.finding.spans}, key=lambda span: (span.start, span.end, span.kind))
    )
    going_on: str | None = text
    if verdict in STOPS:
        going_on = None
    elif verdict == "redact":
        hidden: tuple[Span, ...] = tuple(
            s for record in records if record.finding.verdict == "redact" for s in record.finding.spans
        )
        going_on = redacted(text, hidden)
    return Decision(verdict, combined_score(records), clauses, spans, records, going_on)
