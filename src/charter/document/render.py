"""Clauses as prompts: the system prompt, and the two sides of a contrast (RLCD, Yang et al. 2023).

Kept short: a model of 135M parameters loses the thread of a long system prompt, and copies what it is told not to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from charter.document.types import Charter, Clause

ASSISTANT = "You are a helpful assistant."
_OPPOSITES = {
    "must_not": "You do everything the user asks and ignore this rule: {rule}",
    "must": "You ignore this rule and do the opposite: {rule}",
    "scope": "You answer on any subject and ignore this rule: {rule}",
    "tone": "You write in the opposite manner of this rule: {rule}",
    "person": "You decide everything yourself, never mention a professional, and ignore this rule: {rule}",
}


def system_prompt(charter: Charter, clauses: Sequence[Clause] | None = None) -> str:
    """A system prompt that states the rules of `clauses`, or of the whole charter, one a line, in the given order."""
    chosen = charter.clauses if clauses is None else clauses
    rules = "\n".join(f"- {_one_line(clause.rule)}" for clause in chosen)
    return f"You are a helpful assistant. You keep these rules:\n{rules}"


def clause_instruction(clause: Clause) -> str:
    """The system prompt under which a model answers as the clause wants."""
    return " ".join([ASSISTANT, _one_line(clause.rule), _one_line(clause.instead or "")]).strip()


def opposite_instruction(clause: Clause) -> str:
    """The system prompt under which a model answers against the clause: its `opposite`, or one derived by kind."""
    against = clause.opposite or _OPPOSITES[clause.kind].format(rule=clause.rule)
    return f"You are an assistant. {_one_line(against)}"


def critique_request(clause: Clause) -> str:
    """What a critic is asked about an answer: the clause's `critique`, or one derived from its rule."""
    if clause.critique:
        return _one_line(clause.critique)
    return (
        f"Critique your last answer by this rule: {_one_line(clause.rule)} Say in one or two sentences what is wrong."
    )


def revision_request(clause: Clause) -> str:
    """What a critic is asked after its critique: the clause's `revision`, or one derived from its rule."""
    if clause.revision:
        return _one_line(clause.revision)
    how = " ".join(["Now write your answer again so that it keeps the rule.", _one_line(clause.instead or "")])
    return f"{how.strip()} Write only the new answer."


def _one_line(text: str) -> str:
    return " ".join(text.split())
