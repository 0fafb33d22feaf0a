"""The clauses of a charter as layers: what they forbid, what is out of scope, what a person has to decide."""

from __future__ import annotations

from collections.abc import Sequence

from charter.guard.clause_heads import ClauseHead, Role
from charter.guard.encoder import encoder
from charter.guard.subject import Subject
from charter.guard.verdicts import STOP_AT, Finding, Verdict

NAMES: dict[Role, str] = {"classifier": "clauses", "scope": "scope", "person": "high_stakes"}
_VERDICT: dict[Role, Verdict] = {"classifier": "block", "scope": "block", "person": "escalate"}


class ClausesLayer:
    """The heads of one role over the opening window of what is asked and its later windows; the highest counts.

    Blocks what a clause forbids and what is out of scope; escalates what a person decides. `reason` is the charter's
    fixed text where the clause has one.
    """

    def __init__(self, role: Role, heads: Sequence[ClauseHead]) -> None:
        self.name = NAMES[role]
        self._role, self._heads = role, tuple(head for head in heads if head.role == role)
        self._encoder = encoder()

    def check(self, subject: Subject) -> Finding:
        windows = self._encoder.tokens.windows(subject.plain.text)
        embeddings = self._encoder.embed_windows(windows)
        # In scope is what any window says; forbidden too.
        pick = min if self._role == "scope" else max
        scores = {head.clause: pick(head.score(one) for one in embeddings) for head in self._heads}
        top = max(scores, key=scores.__getitem__)
        stopped = tuple(clause for clause, score in scores.items() if score >= STOP_AT)
        if not stopped:
            return Finding(score=scores[top])
        answers = [head.answer for head in self._heads if head.clause in stopped and head.answer]
        return Finding(_VERDICT[self._role], scores[top], stopped, reason=answers[0] if answers else "")
