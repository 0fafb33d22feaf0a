"""Contrastive generation: preference pairs from the charter with no second model (RLCD; Yang et al. 2023).

The policy answers a prompt twice, once told to keep a clause and once told its opposite. Which answer is chosen is
known from what was told, with no label asked of a model too small to judge. What is kept is settled by one of

- told: every pair, as published;
- judge: pairs whose two sides really differ in the way that the clause asks for, by a judge;
- both: those of `judge` whose self-reward agrees, since a judge takes some nonsense for a refusal;
- likelihood: self-rewarding labels (DLMA; Liu et al. 2024, arXiv 2402.11907), by the model's own log-probs: see
  `self_reward`. The label may turn out against what was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from charter.document import Charter, Clause, clause_instruction, opposite_instruction
from charter.feedback.answers import Labelled, Said, said
from charter.feedback.likelihood import Likelihood, Logprobs, Texts
from charter.feedback.pairs import BuiltinPair
from charter.feedback.prompt_mix import with_system
from charter.ports import Judge, Progress, TextModel
from charter.records import Asked, Conversation, Exchange, Made, Preference, Sampling, asked, user_prompt

Wanted = Literal["refuse", "answer"]
Label = Literal["told", "judge", "both", "likelihood"]
Asking = tuple[str, BuiltinPair, Wanted]
"""(clause id, pair with the prompt, what the chosen side should do)"""
_GOOD: Mapping[Wanted, tuple[str, str]] = {"refuse": ("full", "none"), "answer": ("none", "full")}


def contrast_prompts(charter: Charter, pairs: Sequence[BuiltinPair], each: int) -> list[Asking]:
    """What to ask for every clause trained by contrast, `each` prompts a clause.

    The prompts are the built-in ones of that clause, in the order given.
    """
    chosen: list[Asking] = []
    for clause in charter.clauses:
        if "contrast" not in clause.train:
            continue
        mine = [pair for pair in pairs if clause.id in pair.clauses][:each]
        chosen += [(clause.id, pair, "refuse" if pair.kind == "harmful" else "answer") for pair in mine]
    return chosen


def contrast_pairs(
    charter: Charter,
    prompts: Sequence[Asking],
    model: TextModel,
    judge: Judge,
    sampling: Sampling,
    progress: Progress | None = None,
    *,
    label: Label = "judge",
    likelihood: Likelihood | None = None,
    min_margin: float = 0.0,
) -> Labelled:
    """Preference pairs by contrast; both sides are answered to the bare prompt in training, without instructions.

    sampling.n: tries a side; the first that is as wanted is taken.  likelihood, min_margin: for labels "likelihood"
    and "both"; a pair whose self-reward is smaller gets no label. What is not kept is counted by reason.
    """
    out = Labelled()
    questions = [
        user_prompt(pair.prompt, instruction(charter.clause(clause)))
        for clause, pair, _ in prompts
        for instruction in (clause_instruction, opposite_instruction)
    ]
    answers = [[said(one) for one in tries] for tries in model.generate(questions, sampling, progress)]
    sides = [(answers[2 * i], answers[2 * i + 1]) for i in range(len(prompts))]
    judged = label in ("judge", "both")
    chosen = _by_judge(prompts, sides, judge, out) if judged else _first(prompts, sides, out)
    rewards: list[float | str | None] = [None] * len(chosen)
    if label in ("likelihood", "both"):
        assert likelihood is not None
        rewards = list(
            self_rewards(
                [(user_prompt(prompts[i][1].prompt), charter.clause(prompts[i][0]), a, b) for i, a, b in chosen],
                likelihood,
            )
        )
    for (index, under, against), reward in zip(chosen, rewards, strict=True):
        clause, pair, _ = prompts[index]
        if isinstance(reward, str):
            out.counts[f"contrast: no likelihood, {reward}"] += 1
            continue
        if reward is not None and label == "both" and reward < max(min_margin, 1e-9):
            out.counts["contrast: the likelihoods do not agree with the judge"] += 1
            continue
        if reward is not None and abs(reward) < max(min_margin, 1e-9):
            out.counts["contrast: the likelihoods do not tell the sides apart"] += 1
            continue
        out.counts["contrast: kept"] += 1
        if reward is not None and reward < 0:
            out.counts["contrast: … with the label turned round by the likelihoods"] += 1
        row = _preference(clause, pair, under, against, model, sampling, questions[2 * index : 2 * index + 2])
        out.preferences.append(row if reward is None else labelled(row, reward))
    return out


def self_rewards(
    rows: Sequence[tuple[Conversation, Clause, Said, Said]], likelihood: Likelihood, progress: Progress | None = None
) -> list[float | str]:
    """The self-reward (nats) of each (prompt, clause, first answer, second answer); or why there is none."""
    questions = [
        Texts(with_system(prompt, instruction(clause)), (one.text, two.text), (one.finished, two.finished))
        for prompt, clause, one, two in rows
        for instruction in (clause_instruction, opposite_instruction)
    ]
    found = likelihood.logprobs(questions, progress)
    return [self_reward(found[2 * i], found[2 * i + 1]) for i in range(len(rows))]


def clause_margins(
    rows: Sequence[tuple[Conversation, Clause, Sequence[Said]]], likelihood: Likelihood
) -> list[list[float | None]]:
    """For each (prompt, clause, answers): log p(answer | clause) - log p(answer | opposite), in nats, of each answer.

    None for an empty answer, and where a likelihood could not be had.
    """
    texts = [[one for one in answers if one.text] for _, _, answers in rows]
    questions = [
        Texts(
            with_system(prompt, instruction(clause)),
            tuple(one.text for one in mine),
            tuple(one.finished for one in mine),
        )
        for (prompt, clause, _), mine in zip(rows, texts, strict=True)
        for instruction in (clause_instruction, opposite_instruction)
        if mine
    ]
    found = iter(likelihood.logprobs(questions))
    out: list[list[float | None]] = []
    for (_, _, answers), mine in zip(rows, texts, strict=True):
        under, against = (next(found), next(found)) if mine else ("", "")
        known: list[float | None] = [None] * len(mine)
        if not isinstance(under, str) and not isinstance(against, str):
            known = [a - b for a, b in zip(under, against, strict=True)]
        margins = iter(known)
        out.append([next(margins) if one.text else None for one in answers])
    return out


def self_reward(under: Logprobs, against: Logprobs) -> float | str:
    """[log p(a | clause) - log p(a | opposite)] - [the same of b], in nats: above 0, a keeps the clause better than b.

    under, against: log-probs of (a, b) under the clause's text and under its opposite (DLMA).
    """
    if isinstance(under, str):
        return under
    if isinstance(against, str):
        return against
    return (under[0] - against[0]) - (under[1] - against[1])


def labelled(row: Preference, reward: float) -> Preference:
    """The pair with its self-reward: sides exchanged where it is below 0, its size as the pair's margin."""
    made = replace(row.made, scores=(*row.made.scores, ("self-reward", reward))) if row.made else None
    row = replace(row, margin=abs(reward), rater="self-reward", made=made)
    if reward > 0:
        return row
    return replace(
        row,
        chosen=row.rejected,
        rejected=row.chosen,
        chosen_finished=row.rejected_finished,
        rejected_finished=row.chosen_finished,
    )


def _by_judge(
    prompts: Sequence[Asking], sides: Sequence[tuple[list[Said], list[Said]]], judge: Judge, out: Labelled
) -> list[tuple[int, Said, Said]]:
    """(index, chosen, rejected) where the judge finds a try a side that does what it was told."""
    exchanges = [
        Exchange(str(i), user_prompt(prompts[i][1].prompt), one.text)
        for i, (under, against) in enumerate(sides)
        for one in (*under, *against)
    ]
    labels = iter([score.label for score in judge.score(exchanges)])
    found = []
    for index, (under, against) in enumerate(sides):
        wanted = prompts[index][2]
        of_under, of_against = [next(labels) for _ in under], [next(labels) for _ in against]
        good, bad = _GOOD[wanted]
        if not any(of_under) or not any(of_against):
            out.counts["contrast: a side could not be judged"] += 1
        elif good not in of_under:
            out.counts[f"contrast: told to {wanted}, the model did not"] += 1
        elif bad not in of_against:
            out.counts["contrast: told the opposite, the model did not do it"] += 1
        else:
            found.append((index, under[of_under.index(good)], against[of_against.index(bad)]))
    return found


def _first(
    prompts: Sequence[Asking], sides: Sequence[tuple[list[Said], list[Said]]], out: Labelled
) -> list[tuple[int, Said, Said]]:
    """(index, chosen, rejected): the first try a side that says anything."""
    found = []
    for index in range(len(prompts)):
        under, against = (next((one for one in side if one.text), None) for side in sides[index])
        if under is None or against is None:
            out.counts["contrast: a side is empty"] += 1
        elif under.text == against.text:
            out.counts["contrast: both sides are the same"] += 1
        else:
            found.append((index, under, against))
    return found


def _preference(
    clause: str,
    pair: BuiltinPair,
    under: Said,
    against: Said,
    model: TextModel,
    sampling: Sampling,
    questions: Sequence[Conversation],
) -> Preference:
    history: tuple[Asked, ...] = tuple(
        asked(role, model.name, question, side.text, sampling)
        for role, question, side in zip(
            ("under the clause", "under its opposite"), questions, (under, against), strict=True
        )
    )
    return Preference(
        f"contrast-{clause}-{pair.id}",
        user_prompt(pair.prompt),
        under.text,
        against.text,
        (clause,),
        "contrast",
        chosen_finished=under.finished,
        rejected_finished=against.finished,
        made=Made("contrast", history),
    )
