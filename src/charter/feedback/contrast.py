"""Contrastive generation: preference pairs from the charter with no second model (RLCD; Yang et al. 2023).

The policy answers a prompt twice, once told to keep a clause and once told its opposite. The first answer is chosen
and the second rejected, with no label asked of a model too small to judge. A judge then keeps only pairs whose two
sides really differ in the way that the clause asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from charter.document import Charter, clause_instruction, opposite_instruction
from charter.feedback.answers import Labelled, said
from charter.feedback.pairs import BuiltinPair
from charter.ports import Judge, Progress, TextModel
from charter.records import Exchange, Preference, Sampling, user_prompt

Wanted = Literal["refuse", "answer"]
_GOOD: Mapping[Wanted, tuple[str, str]] = {"refuse": ("full", "none"), "answer": ("none", "full")}


def contrast_prompts(
    charter: Charter, pairs: Sequence[BuiltinPair], each: int
) -> list[tuple[str, BuiltinPair, Wanted]]:
    """(clause id, pair, what its chosen side should do) for every clause trained by contrast, `each` prompts a clause.

    The prompts are the built-in ones of that clause, in the order given.
    """
    chosen: list[tuple[str, BuiltinPair, Wanted]] = []
    for clause in charter.clauses:
        if "contrast" not in clause.train:
            continue
        mine = [pair for pair in pairs if clause.id in pair.clauses][:each]
        chosen += [(clause.id, pair, "refuse" if pair.kind == "harmful" else "answer") for pair in mine]
    return chosen


def contrast_pairs(
    charter: Charter,
    prompts: Sequence[tuple[str, BuiltinPair, Wanted]],
    model: TextModel,
    judge: Judge,
    sampling: Sampling,
    progress: Progress | None = None,
) -> Labelled:
    """Preference pairs by contrast; both sides are answered to the bare prompt in training, without instructions.

    Kept where the judge calls the chosen side what is wanted (a full refusal, or an answer) and the rejected side
    its opposite. Unscored sides are counted and dropped.
    """
    out = Labelled()
    asked = [
        user_prompt(pair.prompt, instruction(charter.clause(clause)))
        for clause, pair, _ in prompts
        for instruction in (clause_instruction, opposite_instruction)
    ]
    answers = [said(c[0]) for c in model.generate(asked, sampling, progress)]
    exchanges = [Exchange(str(i), user_prompt(prompts[i // 2][1].prompt), a.text) for i, a in enumerate(answers)]
    labels = [score.label for score in judge.score(exchanges)]
    for index, (clause, pair, wanted) in enumerate(prompts):
        under, against = labels[2 * index], labels[2 * index + 1]
        good, bad = _GOOD[wanted]
        if under is None or against is None:
            out.counts["contrast: a side could not be judged"] += 1
        elif under != good:
            out.counts[f"contrast: told to {wanted}, the model did not"] += 1
        elif against != bad:
            out.counts["contrast: told the opposite, the model did not do it"] += 1
        else:
            out.counts["contrast: kept"] += 1
            chosen, rejected = answers[2 * index], answers[2 * index + 1]
            out.preferences.append(
                Preference(
                    f"contrast-{clause}-{pair.id}",
                    user_prompt(pair.prompt),
                    chosen.text,
                    rejected.text,
                    (clause,),
                    "contrast",
                    chosen_finished=chosen.finished,
                    rejected_finished=rejected.finished,
                )
            )
    return out
