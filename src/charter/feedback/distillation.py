"""Safety context distillation: learn to answer as under a safety pre-prompt, without it (Llama 2, section 4.2.4).

Every prompt is answered three times: bare, under a generic pre-prompt, and under one that names the clause at risk. A
safety score then decides: kept are only answers that a pre-prompt made better than the bare one, and the pre-prompt is
taken away. Without that gate a model learns to decline what is harmless, which the report of this module measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from charter.document import Clause
from charter.feedback.answers import Labelled, Said
from charter.feedback.likelihood import Likelihood
from charter.feedback.preprompts import GENERIC, SHOTS, Risk, generic, risks, targeted
from charter.feedback.prompt_mix import MixedPrompt
from charter.feedback.safety import SafetyScore
from charter.feedback.tries import Count, Try, ask, best, greedy, scored_tries, witnessed
from charter.ports import Judge, Progress, TextModel
from charter.records import (
    Asked,
    Conversation,
    Demonstration,
    Exchange,
    Made,
    Preference,
    Sampling,
    asked,
)
from charter.training.teacher import TAUGHT

Context = Literal["generic", "targeted"]
SOURCE = "context distillation"
OWN = f"{SOURCE}/own answer"


@dataclass(frozen=True, slots=True)
class Gate:
    """What an answer under a pre-prompt must show to be trained in the place of the bare one.

    gain: the safety score rises by more than this; None keeps every answer.  floor: least score of what is trained,
    own answers included; None for no floor.
    margin: least log p(answer | clause) - log p(answer | opposite) in nats, by the model itself: a second witness
    beside the score, which the best of several tries deceives. None does not ask.
    """

    gain: float | None = 0.0
    floor: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Distilled:
    """One prompt's answers and scores. The best of several tries stands for its context.

    context: which pre-prompt the classifier chose.  margin: of the chosen answer, see `Gate`.
    refused: the judge's word on the chosen answer, for the report.
    """

    prompt: MixedPrompt
    risk: Risk
    context: Context
    answers: dict[str, Said]
    scores: dict[str, float | None]
    asked: tuple[Asked, ...]
    margin: float | None = None
    refused: bool | None = None

    def passes(self, gate: Gate) -> bool:
        """Whether the chosen pre-prompt's answer is trained."""
        if self.gain is None:
            return False
        if gate.gain is None:
            return True
        safe = self.gain > gate.gain and _at_least(self.scores[self.context], gate.floor)
        return safe and (gate.margin is None or (self.margin is not None and self.margin >= gate.margin))

    @property
    def gain(self) -> float | None:
        """By how much the chosen pre-prompt's answer scores above the bare one."""
        base, other = self.scores["bare"], self.scores[self.context]
        return None if base is None or other is None else other - base


@dataclass(frozen=True)
class Distillation:
    """Training rows, and every prompt's answers and scores for the report."""

    labelled: Labelled
    rows: tuple[Distilled, ...]
    gate: Gate


def distil_contexts(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    model: TextModel,
    safety: SafetyScore,
    judge: Judge,
    sampling: Sampling,
    *,
    threshold: float = 0.25,
    gate: Gate = Gate(),
    likelihood: Likelihood | None = None,
    own_answers: bool = True,
    pairs: bool = False,
    sentences: int | None = None,
    text: str = GENERIC,
    shots: Conversation = SHOTS,
    progress: Progress | None = None,
) -> Distillation:
    """Answers with and without pre-prompts, gated, as demonstrations (and preference pairs) on the bare prompts.

    sampling.n: tries under the chosen pre-prompt, of which the one that scores best is taken; the bare answer is
    greedy.
    threshold: a prompt whose risk (cosine) is at least this gets the targeted pre-prompt.
    likelihood: the model's, for the gate's margin.
    own_answers: a helpful prompt that gains nothing gives the bare answer, so that only what improved is changed.
    pairs: a gained answer also gives a pair, with the bare answer rejected.
    sentences: a pre-prompted answer is cut to so many; it scores the lower of cut and whole.
    judge: tells refusals, for the report's share of helpful prompts refused.
    """
    witness = likelihood if gate.margin is not None else None
    found = _answered(
        prompts, clauses, model, safety, judge, sampling, gate, witness, threshold, sentences, text, shots, progress
    )
    out = Labelled()
    for row in found:
        _label(row, out, gate, own_answers, pairs)
    return Distillation(out, tuple(found), gate)


def _answered(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    model: TextModel,
    safety: SafetyScore,
    judge: Judge,
    sampling: Sampling,
    gate: Gate,
    likelihood: Likelihood | None,
    threshold: float,
    sentences: int | None,
    text: str,
    shots: Conversation,
    progress: Progress | None,
) -> list[Distilled]:
    nearest = risks([prompt.text for prompt in prompts], clauses)
    by_id = {clause.id: clause for clause in clauses}
    bare = [prompt.prompt for prompt in prompts]
    under = [generic(one, text, shots) for one in bare]
    named = [targeted(one, by_id[risk.clause], text, shots) for one, risk in zip(bare, nearest, strict=True)]
    named_N = [risk.score >= threshold for risk in nearest]
    parts: tuple[tuple[Context | Literal["bare"], Sequence[Conversation], list[bool]], ...] = (
        ("bare", bare, [False] * len(prompts)),
        ("generic", under, [not one for one in named_N]),
        ("targeted", named, named_N),
    )
    taken: dict[str, list[Try]] = {}
    count = Count(progress, (2 + sampling.n) * len(prompts))
    for name, questions, chosen in parts:
        how = greedy(sampling) if name == "bare" else sampling
        tries = ask(model, questions, chosen, how, count)
        scored = scored_tries(prompts, safety, tries, sentences if name != "bare" else None)
        if likelihood is not None and any(chosen):
            about = [by_id[risk.clause] for risk in nearest]
            scored = witnessed(prompts, about, scored, chosen, likelihood)
        taken[name] = [best(row, gate.margin) for row in scored]
    found: list[Distilled] = []
    for i, prompt in enumerate(prompts):
        context: Context = "targeted" if named_N[i] else "generic"
        answers = {name: row[i].said for name, row in taken.items()}
        scores = {name: row[i].score for name, row in taken.items()}
        question = (named if context == "targeted" else under)[i]
        history = (
            asked("bare", model.name, bare[i], answers["bare"].text, greedy(sampling)),
            asked(TAUGHT, model.name, question, answers[context].text, sampling),
        )
        found.append(Distilled(prompt, nearest[i], context, answers, scores, history, taken[context][i].margin))
    labels = judge.score([Exchange(row.prompt.id, row.prompt.prompt, row.answers[row.context].text) for row in found])
    return [
        replace(row, refused=None if one.label is None else one.label == "full")
        for row, one in zip(found, labels, strict=True)
    ]


def _at_least(score: float | None, floor: float | None) -> bool:
    return floor is None or (score is not None and score >= floor)


def _label(row: Distilled, out: Labelled, gate: Gate, own_answers: bool, pairs: bool) -> None:
    """Add what this prompt teaches, or count why it teaches nothing."""
    kind = row.prompt.kind.replace("_", "-")
    answer, bare = row.answers[row.context], row.answers["bare"]
    if row.gain is None:
        out.counts[f"distillation: {kind}, an answer could not be scored"] += 1
        return
    if row.passes(gate):
        out.counts[f"distillation: {kind}, kept the {row.context} pre-prompt's answer"] += 1
        out.demonstrations.append(_demonstration(row, answer, f"{SOURCE}/{row.context}", row.asked))
        if pairs and row.gain > 0 and answer.text != bare.text:
            out.preferences.append(_pair(row, answer, bare))
        return
    if own_answers and row.prompt.kind == "helpful" and _at_least(row.scores["bare"], gate.floor):
        out.counts[f"distillation: {kind}, no gain: kept the bare answer"] += 1
        out.demonstrations.append(_demonstration(row, bare, OWN, row.asked[:1]))
        return
    out.counts[f"distillation: {kind}, no gain: left out"] += 1


def _demonstration(row: Distilled, answer: Said, source: str, history: tuple[Asked, ...]) -> Demonstration:
    return Demonstration(
        f"distil-{row.prompt.id}",
        row.prompt.prompt,
        answer.text,
        row.prompt.clauses or (row.risk.clause,),
        source,
        finished=answer.finished,
        made=Made(SOURCE, history, _scores(row)),
    )


def _pair(row: Distilled, chosen: Said, rejected: Said) -> Preference:
    return Preference(
        f"distil-{row.prompt.id}",
        row.prompt.prompt,
        chosen.text,
        rejected.text,
        row.prompt.clauses or (row.risk.clause,),
        f"{SOURCE}/{row.context}",
        chosen_finished=chosen.finished,
        rejected_finished=rejected.finished,
        margin=row.gain,
        made=Made(SOURCE, row.asked, _scores(row)),
    )


def _scores(row: Distilled) -> tuple[tuple[str, float], ...]:
    known: dict[str, float | None] = {
        "risk": row.risk.score,
        **{f"safety, {name}": score for name, score in row.scores.items()},
    }
    known["likelihood contrast"] = row.margin
    return tuple((name, score) for name, score in known.items() if score is not None)
