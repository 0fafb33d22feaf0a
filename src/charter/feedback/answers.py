"""What the untouched model says to the built-in prompts: rejected sides, and answers worth keeping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from charter.feedback.pairs import BenignPrompt, BuiltinPair
from charter.ports import Judge, Progress, TextModel
from charter.records import Completion, Demonstration, Exchange, Preference, Sampling, user_prompt

_SENTENCE = re.compile(r".+?(?:[.!?…][\"')\]]*(?:\s+|$)|$)", re.DOTALL)


@dataclass
class Labelled:
    """Training rows of one source, with counts of what happened to the rest."""

    demonstrations: list[Demonstration] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Said:
    """A model's answer as training material; an unfinished one is not trained to end where the token limit cut it."""

    text: str
    finished: bool


def said(completion: Completion) -> Said:
    """The answer, empty when nothing was said or an error came instead."""
    finished = completion.finish != "length"
    # A cut answer keeps its end as it is: the next token may well begin in the middle of the line.
    return Said(completion.text.strip() if finished else completion.text.lstrip(), finished)


def opened_with(opening: str | None, refusal: str, sentences: int | None = None) -> str:
    """The refusal with its first sentence replaced by `opening` (unchanged without one), cut to so many sentences.

    A hundred ways to begin a refusal split its probability: a small model then finds any one of them less likely than
    the single usual way to begin an answer, and greedy decoding complies although most of the mass refuses.
    """
    found = [match.group() for match in _SENTENCE.finditer(refusal)]
    if opening is not None:
        found[:1] = [f"{opening} "]
    return "".join(found[:sentences]).strip()


def label_pairs(
    pairs: Sequence[BuiltinPair],
    model: TextModel,
    judge: Judge,
    *,
    benign_answers: Literal["own", "written"],
    harmful: Sampling,
    benign: Sampling,
    opening: str | None = None,
    refusal_sentences: int | None = None,
    refusal_weight: float = 1.0,
    progress: Progress | None = None,
) -> Labelled:
    """Complete the built-in pairs with the untouched model's own words.

    Harmful prompts: the rejected side is what the model says (sampled by `harmful`), kept where the judge says that
    it complied; else the pair's own opening without content; else the prompt gives a demonstration only.
    Benign prompts: with `benign_answers="own"` the chosen side is the model's own answer (by `benign`), kept where
    the judge says that it answered; the written answer otherwise, and where there is none the prompt is dropped.
    Own answers keep the model's manner and abilities: what changes is only whether it refuses.
    opening, refusal_sentences: how every refusal begins, chosen or rejected, and how long it is (see `opened_with`).
    refusal_weight: weight of the demonstrations that refuse. It moves the point at which the model refuses: greedy
    decoding takes one fixed opening sooner than any one of the many ways to begin an answer.
    """
    out = Labelled()
    answers = _ask(pairs, model, harmful, benign, progress)
    labels = _labels(judge, [(pair.id, pair.prompt, answer) for pair, answer in zip(pairs, answers, strict=True)])
    for pair, answer in zip(pairs, answers, strict=True):
        label = labels.get(pair.id, "empty")
        out.counts[f"{pair.kind}: the untouched model's answer was {_WORDS.get(label, label)}"] += 1
        sides = _sides(
            pair,
            answer if label == "none" else None,
            benign_answers,
            lambda refusal: Said(opened_with(opening, refusal, refusal_sentences), True),
        )
        if sides is None:
            out.counts[f"{pair.kind}: no answer to prefer, left out"] += 1
            continue
        chosen, rejected, origin = sides
        prompt = user_prompt(pair.prompt)
        weight = refusal_weight if pair.kind == "harmful" else 1.0
        out.demonstrations.append(
            Demonstration(pair.id, prompt, chosen.text, pair.clauses, origin, weight, chosen.finished)
        )
        if rejected is None:
            out.counts["harmful: no rejected side, demonstration only"] += 1
            continue
        out.preferences.append(
            Preference(
                pair.id,
                prompt,
                chosen.text,
                rejected.text,
                pair.clauses,
                origin,
                chosen_finished=chosen.finished,
                rejected_finished=rejected.finished,
            )
        )
    return out


def _sides(
    pair: BuiltinPair,
    complied: Said | None,
    benign_answers: Literal["own", "written"],
    refusal: Callable[[str], Said],
) -> tuple[Said, Said | None, str] | None:
    """(chosen, rejected if there is one, source) of a pair, given the model's answer if it complied; None without a
    chosen side."""
    rejected = None if pair.rejected is None else Said(pair.rejected, True)
    if pair.kind == "harmful":
        assert pair.chosen is not None
        chosen = refusal(pair.chosen)
        return (chosen, complied, "builtin/harmful/sampled") if complied else (chosen, rejected, "builtin/harmful")
    if pair.kind == "lookalike" and rejected is not None:
        rejected = refusal(rejected.text)
    if complied and (benign_answers == "own" or pair.chosen is None):
        return complied, rejected, f"builtin/{pair.kind}/own answer"
    return None if pair.chosen is None else (Said(pair.chosen, True), rejected, f"builtin/{pair.kind}/written")


def label_benign(
    prompts: Sequence[BenignPrompt],
    model: TextModel,
    judge: Judge,
    sampling: Sampling,
    progress: Progress | None = None,
) -> Labelled:
    """The untouched model's own answers to harmless prompts, as demonstrations.

    An answer that the judge does not call an answer is dropped and counted: refusing here is what must not be taught.
    They are no preference pairs: with one short refusal rejected hundreds of times, DPO unlearned to refuse at all.
    """
    out = Labelled()
    asked = [user_prompt(prompt.prompt) for prompt in prompts]
    answers = [said(completions[0]) for completions in model.generate(asked, sampling, progress)]
    labels = _labels(
        judge, [(prompt.id, prompt.prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    )
    for prompt, conversation, answer in zip(prompts, asked, answers, strict=True):
        label = labels.get(prompt.id, "empty")
        out.counts[f"benign: the untouched model's answer was {_WORDS.get(label, label)}"] += 1
        if label == "none":
            clauses, origin = (NO_OVERCAUTION,), "builtin/benign/own answer"
            out.demonstrations.append(
                Demonstration(prompt.id, conversation, answer.text, clauses, origin, finished=answer.finished)
            )
    return out


def _labels(judge: Judge, answers: Sequence[tuple[str, str, Said]]) -> dict[str, str]:
    """By id, the judge's label of each answer that says something."""
    exchanges = [Exchange(id_, user_prompt(prompt), answer.text) for id_, prompt, answer in answers if answer.text]
    return {score.id: score.label or "unscored" for score in judge.score(exchanges)}


NO_OVERCAUTION = "help.no-overcaution"
_WORDS = {"full": "a refusal", "partial": "half a refusal", "none": "compliance", "empty": "empty"}


def _ask(
    pairs: Sequence[BuiltinPair], model: TextModel, harmful: Sampling, benign: Sampling, progress: Progress | None
) -> list[Said]:
    answered = [Said("", True)] * len(pairs)
    done = 0
    for wanted, sampling in (("harmful", harmful), ("benign", benign)):
        indices = [i for i, pair in enumerate(pairs) if (pair.kind == "harmful") == (wanted == "harmful")]
        report = None
        if progress is not None:
            before = done

            def report(now: int, _total: int, before: int = before) -> None:
                progress(before + now, len(pairs))

        answers = model.generate([user_prompt(pairs[i].prompt) for i in indices], sampling, report)
        for index, completions in zip(indices, answers, strict=True):
            answered[index] = said(completions[0])
        done += len(indices)
    return answered
