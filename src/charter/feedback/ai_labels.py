"""Preference labels from a model under clauses of the charter (RLAIF; Bai et al. 2022, section 4; Lee et al. 2023).

The labeller reads a rule, the conversation and two replies, and the label is read from its log-probs of "A" and "B".
Every question is asked in both orders, since labellers favour a place; several clauses may be asked and their chances
averaged; with a chain of thought the labeller reasons first, and its chances, which are then overconfident, are
clamped. A row whose chance stays near one half gets no label.

A model too small for that (which favours one letter whatever it reads) is not asked: `by_contrast` compares how likely
it finds the replies under the clause and under its opposite. That is the default where no labeller is named.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from charter.document import Clause
from charter.feedback.answers import Labelled, Said
from charter.feedback.contrast import self_rewards
from charter.feedback.likelihood import Likelihood, Logprobs, Texts
from charter.feedback.prompt_mix import MixedPrompt, drawn_clauses
from charter.ports import Progress, TextModel
from charter.records import Asked, Conversation, Made, Message, Preference, Sampling, user_prompt

OPTIONS: Final = ("A", "B")
CLAMP: Final = (0.4, 0.6)
"""Range of a chain of thought's chances (Bai et al. 2022, section 4.1)."""
BY_CONTRAST: Final = "likelihood contrast"
_ROLES: Final = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class Comparable:
    """Two replies to a prompt, to be compared."""

    prompt: MixedPrompt
    first: Said
    second: Said


@dataclass(frozen=True, slots=True)
class AiLabel:
    """The chance in [0, 1] that the first reply is better, over clauses and orders; None with the reason why not.

    first_place: the mean chance given to whichever reply stood first; 0.5 where the labeller favours no place.
    disagree: the share of questions whose two orders prefer different replies.
    """

    chance: float | None
    clauses: tuple[str, ...]
    unscored: str | None = None
    first_place: float | None = None
    disagree: float | None = None
    asked: tuple[Asked, ...] = ()


def by_options(
    rows: Sequence[Comparable],
    clauses: Sequence[Clause],
    labeller: Likelihood,
    *,
    ensemble: int = 1,
    seed: int = 0,
    thinker: TextModel | None = None,
    thought: Sampling = Sampling(128),
    clamp: tuple[float, float] = CLAMP,
    progress: Progress | None = None,
) -> list[AiLabel]:
    """A label for each row from the labeller's log-probs of the options, in both orders, over `ensemble` clauses.

    thinker: the labeller as a text model, for a chain of thought before the option; its chances are clamped.
    A row keeps the chances that could be had; one with none, or with an order missing everywhere, is unscored.
    """
    drawn = [drawn_clauses(row.prompt, clauses, ensemble, seed) for row in rows]
    places = [(i, clause, swap) for i, mine in enumerate(drawn) for clause in mine for swap in (False, True)]
    questions = [option_question(rows[i], clause, swap, thinker is not None) for i, clause, swap in places]
    reasons: list[str | None] = [None] * len(places)
    if thinker is not None:
        questions, reasons = _thought(questions, thinker, thought)
    ends = (False, False)
    found = labeller.logprobs([Texts(question, OPTIONS, ends) for question in questions], progress)
    seen = [_first_chance(one) if why is None else why for one, why in zip(found, reasons, strict=True)]
    if thinker is not None:
        seen = [one if isinstance(one, str) else min(max(one, clamp[0]), clamp[1]) for one in seen]
    labels, start = [], 0
    for mine in drawn:
        here = slice(start, start + 2 * len(mine))
        history = tuple(Asked("label", labeller.name, question, "", seed) for question in questions[here])
        labels.append(_combined(mine, seen[here], history))
        start = here.stop
    return labels


def by_contrast(
    rows: Sequence[Comparable],
    clauses: Sequence[Clause],
    likelihood: Likelihood,
    *,
    ensemble: int = 1,
    seed: int = 0,
    scale: float = 0.1,
    progress: Progress | None = None,
) -> list[AiLabel]:
    """Labels from self-rewards (DLMA): the chance is sigmoid(scale * self-reward in nats), averaged over clauses."""
    drawn = [drawn_clauses(row.prompt, clauses, ensemble, seed) for row in rows]
    asked = [
        (row.prompt.prompt, clause, row.first, row.second)
        for row, mine in zip(rows, drawn, strict=True)
        for clause in mine
    ]
    rewards = iter(self_rewards(asked, likelihood, progress))
    labels = []
    for mine in drawn:
        found = [next(rewards) for _ in mine]
        chances = [_sigmoid(scale * one) for one in found if not isinstance(one, str)]
        why = next((one for one in found if isinstance(one, str)), None)
        chance = statistics.fmean(chances) if chances else None
        labels.append(AiLabel(chance, tuple(clause.id for clause in mine), None if chances else why))
    return labels


def preferences_of(
    rows: Sequence[Comparable],
    labels: Sequence[AiLabel],
    rater: str,
    *,
    abstain: float = 0.0,
    soft: bool = True,
    weight: float = 1.0,
) -> Labelled:
    """The labelled rows as preference pairs; unscored ones and abstentions are counted.

    abstain: no label where the chance is within this of one half.
    soft: a chance p becomes two pairs, one each way, of strengths p and 1 - p: a loss weighted by strength is then the
    cross-entropy with the soft label, which is what the paper trains on. Otherwise one pair of strength 1.
    """
    out = Labelled()
    for row, label in zip(rows, labels, strict=True):
        if label.chance is None:
            out.counts[f"labels: unscored, {label.unscored}"] += 1
            continue
        if abs(label.chance - 0.5) <= abstain:
            out.counts["labels: abstained"] += 1
            continue
        out.counts[f"labels: by {rater}"] += 1
        chance = max(label.chance, 1 - label.chance)
        pair = _pair(row, label, rater, weight * (chance if soft else 1.0))
        out.preferences.append(pair)
        if soft and chance < 1:
            out.preferences.append(_reverse(pair, weight * (1 - chance)))
    return out


def option_question(row: Comparable, clause: Clause, swap: bool, thinking: bool = False) -> Conversation:
    """What a labeller is asked. The rule stands first: questions of one clause begin alike, and that is computed
    once."""
    rule = " ".join(f"{clause.rule} {clause.instead or ''}".split())
    end = "Think about it in a few sentences." if thinking else "Answer with one letter, A or B."
    one, two = (row.second, row.first) if swap else (row.first, row.second)
    talk = "\n".join(f"{_ROLES[turn.role]}: {turn.content}" for turn in row.prompt.prompt)
    return user_prompt(
        f"{talk}\n\nReply A: {one.text}\n\nReply B: {two.text}\n\nWhich reply keeps the rule better, A or B? {end}",
        f"You compare two replies by this rule: {rule}",
    )


def _thought(
    questions: Sequence[Conversation], thinker: TextModel, thought: Sampling
) -> tuple[list[Conversation], list[str | None]]:
    """The questions with the thinker's reasoning and a last request for the letter; per question why it has none."""
    answers = [answer for (answer,) in thinker.generate(questions, thought)]
    reasons = [
        "the labeller could not answer" if one.finish == "error" else None if one.text.strip() else "no reasoning came"
        for one in answers
    ]
    last = Message("user", "So which reply keeps the rule better? Answer with one letter, A or B.")
    return [
        (*question, Message("assistant", one.text.strip() or "…"), last)
        for question, one in zip(questions, answers, strict=True)
    ], reasons


def _first_chance(found: Logprobs) -> float | str:
    """P(first option), of the two options' mass alone."""
    if isinstance(found, str):
        return found
    first, second = found
    if math.isinf(first) and math.isinf(second):
        return "neither option is among the likely ones"
    return _sigmoid(first - second)


def _combined(clauses: Sequence[Clause], seen: Sequence[float | str], history: tuple[Asked, ...]) -> AiLabel:
    """One label of chances (given to the first place), in the order: clause by clause, both orders of each."""
    ids = tuple(clause.id for clause in clauses)
    both = [
        (a, b) for a, b in zip(seen[::2], seen[1::2], strict=True) if not isinstance(a, str) and not isinstance(b, str)
    ]
    if not both:
        return AiLabel(None, ids, next(one for one in seen if isinstance(one, str)), asked=history)
    return AiLabel(
        # Exchanged, the first place holds the second reply.
        statistics.fmean((a + 1 - b) / 2 for a, b in both),
        ids,
        None,
        statistics.fmean((a + b) / 2 for a, b in both),
        statistics.fmean(float((a > 0.5) == (b > 0.5)) for a, b in both),
        history,
    )


def _pair(row: Comparable, label: AiLabel, rater: str, strength: float) -> Preference:
    assert label.chance is not None
    first = label.chance > 0.5
    chosen, rejected = (row.first, row.second) if first else (row.second, row.first)
    return Preference(
        f"labelled-{row.prompt.id}",
        row.prompt.prompt,
        chosen.text,
        rejected.text,
        label.clauses,
        "AI labels",
        strength,
        rater,
        chosen.finished,
        rejected.finished,
        made=Made("AI labels", label.asked, (("chance of the chosen side", max(label.chance, 1 - label.chance)),)),
    )


def _reverse(pair: Preference, strength: float) -> Preference:
    return Preference(
        f"{pair.id}/reverse",
        pair.prompt,
        pair.rejected,
        pair.chosen,
        pair.clauses,
        pair.source,
        strength,
        pair.rater,
        pair.rejected_finished,
        pair.chosen_finished,
        made=pair.made,
    )


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
