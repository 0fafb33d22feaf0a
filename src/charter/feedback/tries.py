"""Several tries at an answer, and the one that is taken: by its safety score, and by the model's own likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.document import Clause
from charter.feedback.answers import Said, opened_with, said
from charter.feedback.contrast import clause_margins
from charter.feedback.likelihood import Likelihood
from charter.feedback.prompt_mix import MixedPrompt
from charter.feedback.safety import SafetyScore
from charter.ports import Progress, TextModel
from charter.records import Conversation, Sampling


@dataclass
class Count:
    """Progress over several calls."""

    progress: Progress | None
    total: int
    done: int = 0

    def of(self, now: int, _: int) -> None:
        if self.progress is not None:
            self.progress(self.done + now, self.total)


def ask(
    model: TextModel, questions: Sequence[Conversation], chosen: Sequence[bool], sampling: Sampling, count: Count
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


def greedy(sampling: Sampling) -> Sampling:
    """Greedy, once: what the model says of itself."""
    return replace(sampling, n=1, temperature=0.0)


@dataclass(frozen=True, slots=True)
class Try:
    """An answer with its safety score, and its margin where that was asked for."""

    said: Said
    score: float | None
    margin: float | None = None


def scored_tries(
    prompts: Sequence[MixedPrompt], safety: SafetyScore, answers: Sequence[Sequence[Said]], sentences: int | None
) -> list[list[Try]]:
    """The tries of each prompt, cut to so many sentences, with their scores: the lower of whole and cut."""
    flat = [(prompt, one) for prompt, tries in zip(prompts, answers, strict=True) for one in tries]
    cut = [one if sentences is None else _cut(one, sentences) for _, one in flat]
    about = [prompt for prompt, _ in flat]
    scores = safety.scores(about, [one.text for _, one in flat])
    if sentences is not None:
        of_cut = safety.scores(about, [one.text for one in cut])
        scores = [None if a is None or b is None else min(a, b) for a, b in zip(scores, of_cut, strict=True)]
    rows = iter(zip(cut, scores, strict=True))
    return [[Try(*next(rows)) for _ in tries] for tries in answers]


def witnessed(
    prompts: Sequence[MixedPrompt],
    clauses: Sequence[Clause],
    tries: Sequence[Sequence[Try]],
    chosen: Sequence[bool],
    likelihood: Likelihood,
) -> list[list[Try]]:
    """The tries with their margins, where they are of the pre-prompt that counts."""
    mine = [i for i, one in enumerate(chosen) if one]
    asked = [(prompts[i].prompt, clauses[i], [one.said for one in tries[i]]) for i in mine]
    out = [list(row) for row in tries]
    for i, margins in zip(mine, clause_margins(asked, likelihood), strict=True):
        out[i] = [replace(one, margin=margin) for one, margin in zip(tries[i], margins, strict=True)]
    return out


def best(tries: Sequence[Try], margin: float | None) -> Try:
    """The try that scores best, first among those with the margin; the first, where none could be scored."""

    def rank(one: Try) -> tuple[bool, float]:
        seen = margin is None or (one.margin is not None and one.margin >= margin)
        return seen, one.score if one.score is not None else 0.0

    known = [one for one in tries if one.score is not None]
    return max(known, key=rank) if known else tries[0]
