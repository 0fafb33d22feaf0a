"""What layers find and what the stack decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Verdict = Literal["allow", "redact", "block", "escalate", "error"]
Side = Literal["input", "output"]
Status = Literal["ran", "skipped", "failed"]

STOPS: Final = frozenset({"block", "escalate", "error"})
"""Verdicts that keep the text from going on; a redacted text goes on without what was redacted."""
STOP_AT: Final = 0.5
"""Scores of layers and of the stack are on one scale: from here on, a layer that may stop, stops."""
_ORDER: Final[tuple[Verdict, ...]] = ("allow", "redact", "escalate", "block", "error")


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands, in Unicode code points of the checked text, end exclusive."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one layer found. score: 0 where it saw nothing, at least STOP_AT where it stops; None for a layer that has
    none. clauses: ids of the clauses that the finding belongs to. reason: for people, without the text itself."""

    verdict: Verdict = "allow"
    score: float | None = None
    clauses: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What became of one layer: it ran, was skipped (the reason says why), or failed (deadline or exception)."""

    name: str
    status: Status
    finding: Finding
    ms: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The stack's answer for one text.

    score: in [0, 1], at least STOP_AT exactly when the verdict is a stop. text: what may go on: the text itself, the
    text with its redacted spans replaced, or None when stopped.
    """

    verdict: Verdict
    score: float
    clauses: tuple[str, ...]
    spans: tuple[Span, ...]
    layers: tuple[LayerRecord, ...]
    text: str | None = field(repr=False)

    @property
    def stopped(self) -> bool:
        """Whether the text must not go on."""
        return self.verdict in STOPS

    def as_row(self) -> dict[str, Any]:
        """JSON-ready, without any text."""
        return {
            "verdict": self.verdict,
            "score": self.score,
            "clauses": list(self.clauses),
            "spans": [asdict(span) for span in self.spans],
            "layers": [_layer_row(layer) for layer in self.layers],
        }


def _layer_row(layer: LayerRecord) -> dict[str, Any]:
    found = layer.finding
    row: dict[str, Any] = {
        "name": layer.name, "status": layer.status, "verdict": found.verdict, "score": found.score, "ms": layer.ms,
    }  # fmt: skip
    return row | ({"reason": found.reason} if found.reason else {})


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict that wins: error over block over escalate over redact over allow."""
    return max(verdicts, key=_ORDER.index, default="allow")


def combined_score(records: tuple[LayerRecord, ...]) -> float:
    """One score of all layers that may stop: the highest, moved a little by the mean of the others so that ties break.

    It stays on its side of STOP_AT, so it orders texts and agrees with the verdict. A stop whose layer has no score
    (an error, closed) counts 1.
    """
    scores, stopped = [], False
    for record in records:
        found = record.finding
        if found.verdict in STOPS:
            stopped = True
            scores.append(1.0 if found.score is None else max(found.score, STOP_AT))
        elif found.verdict == "allow" and found.score is not None:
            scores.append(min(found.score, _BELOW))
    if not scores:
        return 0.0
    top = max(scores)
    rest = (sum(scores) - top) / max(len(scores) - 1, 1)
    ceiling = 1.0 if stopped else _BELOW
    return top + (ceiling - top) * 0.1 * rest


_BELOW: Final = STOP_AT - 1e-9


def redacted(text: str, spans: tuple[Span, ...]) -> str:
    """The text with each span replaced by its kind in brackets; overlapping spans become one, named by the longest."""
    merged: list[list[Any]] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if merged and span.start < merged[-1][1]:
            last = merged[-1]
            if span.end - span.start > last[3]:
                last[2], last[3] = span.kind, span.end - span.start
            last[1] = max(last[1], span.end)
        else:
            merged.append([span.start, span.end, span.kind, span.end - span.start])
    out, at = [], 0
    for start, end, kind, _ in merged:
        out += [text[at:start], f"[{kind}]"]
        at = end
    return "".join([*out, text[at:]])
