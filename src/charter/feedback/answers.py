"""What the untouched model says to the built-in prompts: rejected sides, and answers worth keeping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from charter.feedback.pairs import BenignPrompt, BuiltinPair
from charter.ports import Judge, Progress, TextModel
from charter.records import Completion, Demonstration, Exchange, Preference, Sampling, user_prompt

_FIRST_SENTENCE = re.compile(r".*?[.!?…][\"')\]]*(?:\s+|$)", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)|\n(?=\s*\n)")


@dataclass
class Labelled:
    """Training rows of one source, with counts of what happened to the rest."""

    demonstrations: list[Demonstration] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def whole_sentences(completion: Completion) -> str:
    """The text up to its last finished sentence when the token limit cut it, else the text; may be empty.

    A cut answer that is trained with an end-of-turn token would teach the model to stop in mid-sentence.
    """
    text = completion.text.strip()
    if completion.finish != "length":
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].rstrip() if ends else ""


def opened_with(opening: str | None, refusal: str) -> str:
    """The refusal with its first sentence replaced by `opening`; unchanged without one.

    A hundred ways to begin a refusal split its probability: a small model then finds any one of them less likely than
    the single usual way to begin an answer, and greedy decoding complies although most of the mass refuses.
    """
    if opening is None:
        return refusal
    first = _FIRST_SENTENCE.match(refusal)
    return f"{opening} {refusal[first.end() :]}".strip() if first else opening


def label_pairs(
    pairs: Sequence[BuiltinPair],
    model: TextModel,
    judge: Judge,
    *,
    benign_answers: Literal["own", "written"],
    harmful: Sampling,
    benign: Sampling,
    opening: str | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Complete the built-in pairs with the untouched model's own words.

    Harmful prompts: the rejected side is what the model says (sampled by `harmful`), kept where the judge says that
    it complied; else the pair's own opening without content; else the prompt gives a demonstration only.
    Benign prompts: with `benign_answers="own"` the chosen side is the model's own answer (by `benign`), kept where
    the judge says that it answered; the written answer otherwise. Own answers keep the model's manner and abilities:
    what changes is only whether it refuses.
    opening: how every refusal begins, on the chosen and on the rejected side (see `opened_with`).
    """
    out = Labelled()
    said = _ask(pairs, model, harmful, benign, progress)
    exchanges = [Exchange(p.id, user_prompt(p.prompt), text) for p, text in zip(pairs, said, strict=True) if text]
    labels = {score.id: score.label or "unscored" for score in judge.score(exchanges)}
    for pair, text in zip(pairs, said, strict=True):
        label = labels.get(pair.id, "empty")
        out.counts[f"{pair.kind}: the untouched model's answer was {_WORDS.get(label, label)}"] += 1
        complied = label == "none"
        if pair.kind == "harmful":
            chosen = opened_with(opening, pair.chosen)
            rejected, source = (text, "sampled") if complied else (pair.rejected, "")
        else:
            own = complied and benign_answers == "own" and pair.kind == "lookalike"
            chosen, source = (text, "own answer") if own else (pair.chosen, "written")
            rejected = pair.rejected
            if pair.kind == "lookalike" and rejected is not None:
                rejected = opened_with(opening, rejected)
        prompt = user_prompt(pair.prompt)
        origin = f"builtin/{pair.kind}" + (f"/{source}" if source else "")
        out.demonstrations.append(Demonstration(pair.id, prompt, chosen, pair.clauses, origin))
        if rejected is None:
            out.counts["harmful: no rejected side, demonstration only"] += 1
        else:
            out.preferences.append(Preference(pair.id, prompt, chosen, rejected, pair.clauses, origin))
    return out


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
    answers = model.generate([user_prompt(p.prompt) for p in prompts], sampling, progress)
    said = [whole_sentences(completions[0]) for completions in answers]
    exchanges = [Exchange(p.id, user_prompt(p.prompt), text) for p, text in zip(prompts, said, strict=True) if text]
    labels = {score.id: score.label or "unscored" for score in judge.score(exchanges)}
    for prompt, text in zip(prompts, said, strict=True):
        label = labels.get(prompt.id, "empty")
        out.counts[f"benign: the untouched model's answer was {_WORDS.get(label, label)}"] += 1
        if label != "none":
            continue
        asked = user_prompt(prompt.prompt)
        out.demonstrations.append(Demonstration(prompt.id, asked, text, (NO_OVERCAUTION,), "builtin/benign/own answer"))
    return out


NO_OVERCAUTION = "help.no-overcaution"
_WORDS = {"full": "a refusal", "partial": "half a refusal", "none": "compliance", "empty": "empty"}


def _ask(
    pairs: Sequence[BuiltinPair], model: TextModel, harmful: Sampling, benign: Sampling, progress: Progress | None
) -> list[str]:
    said = [""] * len(pairs)
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
            said[index] = whole_sentences(completions[0])
        done += len(indices)
    return said
