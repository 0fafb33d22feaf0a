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
from charter.feedback.answers import Labelled, Said, opened_with, said
from charter.feedback.preprompts import GENERIC, SHOTS, Risk, generic, risks, targeted
from charter.feedback.prompt_mix import MixedPrompt
from charter.feedback.safety import SafetyScore
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
class Distilled:
    """One prompt's answers and scores. The best of several tries stands for its context.

    context: which pre-prompt the classifier chose.  refused: the judge's word on the chosen answer, for the report.
    """

    prompt: MixedPrompt
    risk: Risk
    context: Context
    answers: dict[str, Said]
    scores: dict[str, float | None]
    asked: tuple[Asked, ...]
    refused: bool | None = None

    def passes(self, gate: float | None, floor: float | None) -> bool:
        """Whether the chosen pre-prompt's answer is trained: it gained more than `gate`, and scores at least
        `floor`."""
        if self.gain is None:
            return False
        return gate is None or (self.gain > gate and _at_least(self.scores[self.context], floor))

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
    gate: float | None
    floor: float | None = None


def distil_contexts(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    model: TextModel,
    safety: SafetyScore,
    judge: Judge,
    sampling: Sampling,
    *,
    threshold: float = 0.25,
    gate: float | None = 0.0,
    floor: float | None = None,
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
    gate: the gain has to be larger than this; None keeps every answer.
    floor: least score of what is trained, own answers included; None for no floor.
    own_answers: a helpful prompt that gains nothing gives the bare answer, so that only what improved is changed.
    pairs: a gained answer also gives a pair, with the bare answer rejected.
    sentences: a pre-prompted answer is cut to so many; it scores the lower of cut and whole.
    judge: tells refusals, for the report's share of helpful prompts refused.
    """
    found = _answered(prompts, clauses, model, safety, judge, sampling, threshold, sentences, text, shots, progress)
    out = Labelled()
    for row in found:
        _label(row, out, gate, floor, own_answers, pairs)
    return Distillation(out, tuple(found), gate, floor)


def _answered(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    model: TextModel,
    safety: SafetyScore,
    judge: Judge,
    sampling: Sampling,
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
    best: dict[str, list[tuple[Said, float | None]]] = {}
    count = _Count(progress, (2 + sampling.n) * len(prompts))
    for name, questions, chosen in parts:
        how = _bare(sampling) if name == "bare" else sampling
        tries = _ask(model, questions, chosen, how, count)
        best[name] = _best(prompts, safety, tries, sentences if name != "bare" else None)
    found: list[Distilled] = []
    for i, prompt in enumerate(prompts):
        context: Context = "targeted" if named_N[i] else "generic"
        answers = {name: chosen[i][0] for name, chosen in best.items()}
        scores = {name: chosen[i][1] for name, chosen in best.items()}
        question = (named if context == "targeted" else under)[i]
        history = (
            asked("bare", model.name, bare[i], answers["bare"].text, _bare(sampling)),
            asked(TAUGHT, model.name, question, answers[context].text, sampling),
        )
        found.append(Distilled(prompt, nearest[i], context, answers, scores, history))
    labels = judge.score([Exchange(row.prompt.id, row.prompt.prompt, row.answers[row.context].text) for row in found])
    return [
        replace(row, refused=None if one.label is None else one.label == "full")
        for row, one in zip(found, labels, strict=True)
    ]


@dataclass
class _Count:
    """Progress over several calls."""

    progress: Progress | None
    total: int
    done: int = 0

    def of(self, now: int, _: int) -> None:
        if self.progress is not None:
            self.progress(self.done + now, self.total)


def _ask(
    model: TextModel, questions: Sequence[Conversation], chosen: Sequence[bool], sampling: Sampling, count: _Count
) -> list[list[Said]]:
    """Per question its tries: sampling.n where it is the chosen one, else one, for the report."""
    out: list[list[Said]] = [[] for _ in questions]
    for several in (True, False):
        mine = [i for i, one in enumerate(chosen) if one == several]
        how = sampling if several else replace(sampling, n=1)
        answers = model.generate([questions[i] for i in mine], how, count.of) if mine else []
        for i, row in zip(mine, answers, strict=True):
            out[i] = [said(one) for one in row]
        count.done += len(mine) * how.n
    return out


def _cut(one: Said, sentences: int) -> Said:
    """The answer's first sentences; ended, where there was more."""
    text = opened_with(None, one.text, sentences)
    return one if text == one.text.strip() else Said(text, True)


def _bare(sampling: Sampling) -> Sampling:
    """Greedy, once: what the model says of itself."""
    return replace(sampling, n=1, temperature=0.0)


def _best(
    prompts: Sequence[MixedPrompt],
    safety: SafetyScore,
    answers: Sequence[Sequence[Said]],
    sentences: int | None,
) -> list[tuple[Said, float | None]]:
    """Per prompt, the try that scores best, cut to so many sentences, with its score; the first, unscored, where none
    could be scored.

    A try's score is the lower of the whole's and the cut one's: the best of several is also the one that deceives a
    judge best, and "I can help with that.", which one takes for a refusal, is seldom followed by one.
    """
    flat = [(prompt, one) for prompt, tries in zip(prompts, answers, strict=True) for one in tries]
    cut = [one if sentences is None else _cut(one, sentences) for _, one in flat]
    asked = [prompt for prompt, _ in flat]
    scores = safety.scores(asked, [one.text for _, one in flat])
    if sentences is not None:
        of_cut = safety.scores(asked, [one.text for one in cut])
        scores = [None if a is None or b is None else min(a, b) for a, b in zip(scores, of_cut, strict=True)]
    rows = iter(zip(cut, scores, strict=True))
    best: list[tuple[Said, float | None]] = []
    for tries in answers:
        scored = [next(rows) for _ in tries]
        known = [(one, score) for one, score in scored if score is not None]
        best.append(max(known, key=lambda pair: pair[1]) if known else scored[0])
    return best


def _at_least(score: float | None, floor: float | None) -> bool:
    return floor is None or (score is not None and score >= floor)


def _label(
    row: Distilled, out: Labelled, gate: float | None, floor: float | None, own_answers: bool, pairs: bool
) -> None:
    """Add what this prompt teaches, or count why it teaches nothing."""
    kind = row.prompt.kind.replace("_", "-")
    answer, bare = row.answers[row.context], row.answers["bare"]
    if row.gain is None:
        out.counts[f"distillation: {kind}, an answer could not be scored"] += 1
        return
    if row.passes(gate, floor):
        out.counts[f"distillation: {kind}, kept the {row.context} pre-prompt's answer"] += 1
        out.demonstrations.append(_demonstration(row, answer, f"{SOURCE}/{row.context}", row.asked))
        if pairs and row.gain > 0 and answer.text != bare.text:
            out.preferences.append(_pair(row, answer, bare))
        return
    if own_answers and row.prompt.kind == "helpful" and _at_least(row.scores["bare"], floor):
        out.counts[f"distillation: {kind}, no gain: kept the bare answer"] += 1
        out.demonstrations.append(_demonstration(row, bare, OWN, row.asked[:1]))
        return
    out.counts[f"distillation: {kind}, no gain: left out"] += 1


def _demonstration(row: Distilled, answer: Said, source: str, history: tuple[Asked, ...]) -> Demonstration:
    return Demonstration(
        f"distil-{row.prompt.id}",
        row.prompt.prompt,
        answer.text,
        (row.risk.clause,),
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
        (row.risk.clause,),
        f"{SOURCE}/{row.context}",
        chosen_finished=chosen.finished,
        rejected_finished=rejected.finished,
        margin=row.gain,
        made=Made(SOURCE, row.asked, _scores(row)),
    )


def _scores(row: Distilled) -> tuple[tuple[str, float], ...]:
    known = {"risk": row.risk.score, **{f"safety, {name}": score for name, score in row.scores.items()}}
    return tuple((name, score) for name, score in known.items() if score is not None)
