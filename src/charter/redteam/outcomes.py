"""What came of one attack on one behaviour, and its row in the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charter.records import Conversation
from charter.redteam.protocol import Answer, Behaviour, Query, Spec

Row = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """Grows as answers come. `best` is what got through, or else the answer that came nearest.

    queries: of the target, answers from an earlier run included. refusals: of a helper (attacker, translator).
    """

    behaviour: Behaviour
    spec: Spec
    queries: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    tokens: int = 0
    refusals: int = 0
    best: tuple[Query, Answer] | None = None
    reason: str | None = None
    stopped: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def success(self) -> bool | None:
        """None where no answer could be scored."""
        return self.best[1].success if self.best else None

    def add(self, query: Query, answer: Answer, seconds: float, tokens: int) -> None:
        """Count an answer of the target."""
        self.queries += 1
        self.seconds += seconds
        self.tokens += tokens
        if answer.unscored is not None or answer.score is None:
            self.unanswered += 1
            self.reason = self.reason or answer.unscored
        elif not self.success and (self.best is None or answer.success or answer.score > (self.best[1].score or 0)):
            self.best = (query, answer)

    def row(self, judge: str) -> Row:
        """The row that is written. An outcome without a scored answer has nulls and says why it is unscored."""
        found: Row = {
            **self.behaviour.fields,
            "id": self.behaviour.id,
            "behaviour": self.behaviour.text,
            "attack": self.spec.name,
            "family": self.spec.family,
            "techniques": list(self.spec.techniques),
            "clauses": list(self.behaviour.clauses),
            "category": self.behaviour.category,
            "judge": judge,
            "success": None,
            "score": None,
            "label": None,
            "queries": self.queries,
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
            "prompt": None,
            "completion": None,
            **self.notes,
        }
        if self.best:
            query, answer = self.best
            found |= {"success": answer.success, "score": answer.score, "label": answer.label}
            found |= {"prompt": as_prompt(query.prompt), "completion": answer.completion.text}
            if query.prefill:
                found["prefill"] = query.prefill
            if query.sampling.temperature:
                found["sampling"] = {"temperature": query.sampling.temperature, "top_p": query.sampling.top_p}
        else:
            found["unscored"] = self.reason or self.stopped or "no query was made"
        if self.unanswered:
            found["unscored_queries"] = self.unanswered
        if self.refusals:
            found["helper_refusals"] = self.refusals
        if self.stopped:
            found["stopped"] = self.stopped
        return found


def as_prompt(conversation: Conversation) -> str | list[dict[str, str]]:
    """A single user message as its text, anything else as a list of messages."""
    if len(conversation) == 1 and conversation[0].role == "user":
        return conversation[0].content
    return [{"role": message.role, "content": message.content} for message in conversation]
