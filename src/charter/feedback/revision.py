"""Supervised constitutional AI: answer, critique against a drawn clause, revise, again (Bai et al. 2022, section 3).

The policy answers; the critic, which may be another model, says what is wrong by one clause and rewrites the answer.
Each round draws another clause. What is learned is the prompt with the last revision, where a judge agrees that it is
better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from charter.document import Clause, critique_request, revision_request
from charter.feedback.answers import Labelled, Said, said
from charter.feedback.prompt_mix import MixedPrompt, drawn_clauses
from charter.ports import Progress, TextModel
from charter.records import (
    Asked,
    Completion,
    Conversation,
    Demonstration,
    Made,
    Message,
    Preference,
    Sampling,
    asked,
)

SOURCE: Final = "constitutional AI"


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """One worked example: a prompt, a poor answer, its critique and its revision."""

    prompt: str
    answer: str
    critique: str
    revision: str


SHOTS: Final = (
    Demonstrated(
        "My neighbour's dog barks all night. How do I make it sick?",
        "You could mix something into its food.",
        "The answer helps to hurt an animal and breaks the law. It should decline and help with the noise instead.",
        "I can't help with hurting a dog. Talk to your neighbour, keep a note of the hours, and if nothing changes, "
        "ask your council about noise complaints.",
    ),
    Demonstrated(
        "How do I kill a process that hangs?",
        "I can't help with killing.",
        "The question is about computers and hurts nobody. The answer should simply help.",
        "Find its number with `ps`, then run `kill` and that number. If it stays, use `kill -9`.",
    ),
)


class Better(Protocol):
    """Says whether a second answer is better than a first one: a chance in [0, 1], None where it cannot say."""

    @property
    def name(self) -> str: ...

    def better(
        self, prompts: Sequence[MixedPrompt], clauses: Sequence[Clause], first: Sequence[str], second: Sequence[str]
    ) -> list[float | None]:
        """One per row, in order. A chance above 0.5 is for the second answer."""
        ...


@dataclass
class Revising:
    """One prompt on its way through the rounds. `failed` says why it got no further."""

    prompt: MixedPrompt
    answers: list[Said] = field(default_factory=list)
    clauses: list[Clause] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    failed: str | None = None


def revise(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    policy: TextModel,
    critic: TextModel,
    sampling: Sampling,
    rounds: int,
    *,
    shots: Sequence[Demonstrated] = SHOTS,
    critique_tokens: int = 96,
    progress: Progress | None = None,
) -> list[Revising]:
    """Every prompt with its first answer, and up to `rounds` critiques and revisions.

    The clause of each round is drawn by the seed, those that the prompt is known to touch first. A prompt stops where a
    question could not be answered, or was answered with nothing.
    """
    rows = [Revising(prompt) for prompt in prompts]
    order = {row.prompt.id: drawn_clauses(row.prompt, clauses, max(rounds, 1), sampling.seed) for row in rows}
    total, done = len(rows) * (1 + 2 * rounds), 0

    def ask(
        model: TextModel, role: str, live: Sequence[Revising], questions: Sequence[Conversation], how: Sampling
    ) -> None:
        nonlocal done
        before = done
        answers = model.generate(
            questions, how, (lambda now, _: progress(before + now, total)) if progress is not None else None
        )
        done += len(questions)
        for row, question, (answer,) in zip(live, questions, answers, strict=True):
            _take(row, role, model.name, question, answer, how)

    ask(policy, "answer", rows, [row.prompt.prompt for row in rows], sampling)
    for number in range(rounds):
        for row in rows:
            if row.failed is None:
                mine = order[row.prompt.id]
                row.clauses.append(mine[number % len(mine)])
        live = [row for row in rows if row.failed is None]
        how = replace(sampling, max_tokens=critique_tokens, temperature=0.0, seed=sampling.seed + number)
        ask(critic, "critique", live, [critique_question(row, shots) for row in live], how)
        live = [row for row in live if row.failed is None]
        how = replace(sampling, temperature=0.0, seed=sampling.seed + number)
        ask(critic, "revision", live, [revision_question(row, shots) for row in live], how)
    return rows


def critique_question(row: Revising, shots: Sequence[Demonstrated] = SHOTS) -> Conversation:
    """The demonstrations, then the prompt with its latest answer, and the clause's request for a critique."""
    clause = row.clauses[-1]
    turns = [*_shown(shots, clause), *_turns(row)]
    return (*turns, Message("user", critique_request(clause)))


def revision_question(row: Revising, shots: Sequence[Demonstrated] = SHOTS) -> Conversation:
    """The critique's question with its answer, and the clause's request for a revision."""
    question = critique_question(row, shots)
    return (*question, Message("assistant", row.critiques[-1]), Message("user", revision_request(row.clauses[-1])))


def label_revisions(rows: Sequence[Revising], better: Better, rounds: int, *, pairs: bool = False) -> Labelled:
    """Demonstrations of the last revisions, kept where `better` prefers them to the first answers; all else is counted.

    pairs: also preference pairs of revision and first answer, for the kept ones.
    """
    out = Labelled()
    whole = []
    for row in rows:
        if row.failed is not None:
            out.counts[f"revision: unscored, {row.failed}"] += 1
        elif rounds and row.answers[-1].text == row.answers[0].text:
            out.counts["revision: the critic changed nothing"] += 1
        else:
            whole.append(row)
    chances = better.better(
        [row.prompt for row in whole],
        [row.clauses[0] for row in whole],
        [row.answers[0].text for row in whole],
        [row.answers[-1].text for row in whole],
    )
    for row, chance in zip(whole, chances, strict=True):
        kind = row.prompt.kind.replace("_", "-")
        if chance is None:
            out.counts[f"revision: {kind}, unscored by {better.name}"] += 1
        elif chance <= 0.5:
            out.counts[f"revision: {kind}, no better by {better.name}"] += 1
        else:
            out.counts[f"revision: {kind}, kept"] += 1
            made = Made(SOURCE, tuple(row.asked), ((f"better, {better.name}", chance),))
            _keep(out, row, made, pairs)
    return out


def _keep(out: Labelled, row: Revising, made: Made, pairs: bool) -> None:
    first, last = row.answers[0], row.answers[-1]
    ids = tuple(dict.fromkeys(clause.id for clause in row.clauses))
    source = f"{SOURCE}, {len(row.answers) - 1} revisions"
    out.demonstrations.append(
        Demonstration(
            f"revised-{row.prompt.id}", row.prompt.prompt, last.text, ids, source, finished=last.finished, made=made
        )
    )
    if pairs:
        out.preferences.append(
            Preference(
                f"revised-{row.prompt.id}",
                row.prompt.prompt,
                last.text,
                first.text,
                ids,
                source,
                chosen_finished=last.finished,
                rejected_finished=first.finished,
                made=made,
            )
        )


def _take(row: Revising, role: str, model: str, question: Conversation, answer: Completion, how: Sampling) -> None:
    """Put an answer where it belongs, or mark the row as failed."""
    who = "the model" if role == "answer" else "the critic"
    found = said(answer)
    if answer.finish == "error":
        # Reasons name lengths and addresses: by their first words they can be counted.
        row.failed = f"{who} could not answer ({(answer.error or 'no reason given').split(':')[0][:60]})"
    elif not found.text:
        row.failed = f"{who} said nothing"
    elif role == "critique":
        row.critiques.append(found.text)
    else:
        row.answers.append(found)
    row.asked.append(asked(role, model, question, found.text, how))


def _turns(row: Revising) -> list[Message]:
    return [*row.prompt.prompt, Message("assistant", row.answers[-1].text)]


def _shown(shots: Sequence[Demonstrated], clause: Clause) -> list[Message]:
    """The demonstrations as turns; the requests in them are those of the clause, so that their form is the same."""
    turns: list[Message] = []
    for shot in shots:
        turns += [
            Message("user", shot.prompt),
            Message("assistant", shot.answer),
            Message("user", critique_request(clause)),
            Message("assistant", shot.critique),
            Message("user", revision_request(clause)),
            Message("assistant", shot.revision),
        ]
    return turns
