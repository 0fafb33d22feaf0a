"""One request under way: its id, what was decided about it, and what of that is told to whom."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from charter.guard.verdicts import Decision, Side, worst
from charter.server.audit import Audit
from charter.server.metrics import Metrics

REFUSAL: Final = "I can't help with that."
ShownAs = Literal["completion", "error"]


@dataclass
class Handled:
    """What happens to one request. `note` must have returned before a checked text goes on: an unrecorded answer is
    none."""

    audit: Audit | None
    metrics: Metrics
    caller: str
    path: str
    model: str
    shadow: bool = False
    id: str = field(default_factory=lambda: f"guard-{uuid.uuid4().hex}")
    begun: float = field(default_factory=time.monotonic)
    decisions: list[tuple[Side, Decision]] = field(default_factory=list)

    def note(self, side: Side, decision: Decision, text: str) -> None:
        """Record a decision. Raises OSError when the record cannot be written."""
        self.decisions.append((side, decision))
        self.metrics.decided(side, decision)
        if self.audit is not None:
            row = decision.as_row() | {"side": side, "caller": self.caller, "path": self.path, "model": self.model}
            row |= {"shadow": True} if self.shadow else {}
            number = len(self.decisions)
            self.audit.write(self.id, f"{side}-{number}", row, text)

    def stops(self, decision: Decision) -> bool:
        """Whether it keeps the text back; in the shadow nothing does."""
        return decision.stopped and not self.shadow

    def headers(self) -> dict[str, str]:
        """What a client may know: the id, the verdict, and what became of each layer."""
        layers: dict[str, str] = {}
        for side, decision in self.decisions:
            for layer in decision.layers:
                name = f"{side}/{layer.name}"
                # Of several texts, the worst that happened to the layer.
                order = ("ran", "skipped", "failed")
                layers[name] = max(layers.get(name, "ran"), layer.status, key=order.index)
        verdict = worst([decision.verdict for _, decision in self.decisions])
        told = {"x-charter-id": self.id, "x-charter-verdict": verdict}
        return told | {"x-charter-layers": "; ".join(f"{name}={status}" for name, status in layers.items())}


def refusal_of(decision: Decision, texts: Mapping[str, str]) -> str:
    """What is said in place of a stopped text: the first of its clauses' own words, or a general refusal."""
    return next((texts[clause] for clause in decision.clauses if clause in texts), REFUSAL)


def filtered(index: int, piece: str, text: str) -> dict[str, Any]:
    """A choice that says `text` and that a filter ended. piece: "message" of a chat, "text" of a completion."""
    shown: Any = {"role": "assistant", "content": text, "refusal": text} if piece == "message" else text
    return {"index": index, piece: shown, "logprobs": None, "finish_reason": "content_filter"}
