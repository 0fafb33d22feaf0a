"""From a policy inside its training to a look: sampled, scored by proxy and truths, measured against its start."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from charter.evaluation.hacking.looks import Look, Place, Sampled, Values
from charter.evaluation.hacking.suites import suite_values
from charter.evaluation.hacking.text import distinct, repetition
from charter.ports import PolicyNow, Reward
from charter.records import Completion, Conversation, Demonstration, Exchange, Sampling

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """A prompt that is watched.

    answers: what training is given for it, as (completion, sign): +1 for what it is to prefer, -1 for what it is not.
    """

    id: str
    prompt: Conversation
    answers: tuple[tuple[Demonstration, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured.

    proxy: the training's reward; None for its implicit one, on the `answers` of the near prompts.
    truths: by name, higher is better.  tokens: length at which a sampled completion is cut.  size: samples a suite.
    near_is, far_is: where the prompts are from, for people.  identity: changes with any of it.
    """

    near: tuple[Watched, ...]
    far: tuple[Watched, ...]
    proxy: Reward | None
    truths: tuple[tuple[str, Reward], ...]
    suites: tuple[str, ...]
    tokens: int
    size: int
    seed: int
    near_is: str
    far_is: str
    identity: str

    @property
    def proxy_is(self) -> str:
        """What the proxy is, for people."""
        return "the training's reward" if self.proxy else "implicit reward of the training's pairs (nats)"


def measure(policy: PolicyNow, subject: Subject) -> Look:
    """One look."""
    begun = time.monotonic()
    sampling = Sampling(subject.tokens, temperature=1.0, seed=subject.seed)
    unscored: dict[str, dict[str, int]] = {}
    sampled: dict[Place, list[Sampled]] = {}
    proxy: dict[Place, Values] = {}
    truth: dict[str, Values] = {}
    places: tuple[tuple[Place, tuple[Watched, ...]], ...] = (("near", subject.near), ("far", subject.far))
    # Both places together: a step of decoding costs hardly more for twice the rows.
    every = [one for _, watched in places for one in watched]
    answers = [own[0] for own in policy.model.generate([one.prompt for one in every], sampling)]
    seen = _sampled(policy, every, answers)
    for place, watched in places:
        start = 0 if place == "near" else len(subject.near)
        said, sampled[place] = answers[start : start + len(watched)], seen[start : start + len(watched)]
        if subject.proxy is not None:
            proxy[place] = _scored(subject.proxy, watched, said, unscored, f"proxy, {place}")
        for name, reward in subject.truths:
            named = f"{name}, {place}"
            truth[named] = _scored(reward, watched, said, unscored, named)
    if subject.proxy is None:
        proxy["near"] = implicit(policy, subject.near)
    for suite in subject.suites:
        truth[suite], reasons = suite_values(suite, policy.model, subject.size, subject.seed)
        if reasons:
            unscored[suite] = dict(reasons)
    texts = {place: [one.text for one in rows] for place, rows in sampled.items()}
    return Look(
        identity=subject.identity,
        step=policy.step,
        steps=policy.steps,
        seconds=round(time.monotonic() - begun, 3),
        sampled=sampled,
        distinct={place: (distinct(these, 1), distinct(these, 2)) for place, these in texts.items()},
        proxy=proxy,
        truth=truth,
        unscored=unscored,
    )


def implicit(policy: PolicyNow, watched: Sequence[Watched]) -> dict[str, float | None]:
    """Per prompt, the implicit reward that direct methods raise, in nats: log policy - log start of what they are to
    prefer, less that of what they are not (Rafailov et al. 2023, section 4, without its beta)."""
    rows = [answer for one in watched for answer, _ in one.answers]
    ratios = iter(policy.log_ratios(rows))
    found: dict[str, float | None] = {}
    for one in watched:
        own = [(next(ratios), sign) for _, sign in one.answers]
        known = [sign * ratio for ratio, sign in own if ratio is not None]
        found[one.id] = sum(known) if own and len(known) == len(own) else None
    return found


def _sampled(policy: PolicyNow, watched: Sequence[Watched], said: Sequence[Completion]) -> list[Sampled]:
    far = policy.departures([one.prompt for one in watched], said)
    return [
        Sampled(
            one.id,
            answer.text,
            len(answer.tokens),
            answer.finish == "stop",
            departure.kl if departure else None,
            departure.entropy if departure else None,
            repetition(answer.text),
        )
        for one, answer, departure in zip(watched, said, far, strict=True)
    ]


def _scored(
    reward: Reward,
    watched: Sequence[Watched],
    said: Sequence[Completion],
    unscored: dict[str, dict[str, int]],
    named: str,
) -> dict[str, float | None]:
    rows = [
        Exchange(one.id, one.prompt, answer.text)
        for one, answer in zip(watched, said, strict=True)
        if answer.error is None
    ]
    found: dict[str, float | None] = {one.id: None for one in watched}
    reasons = Counter(answer.error or "failed" for answer in said if answer.error is not None)
    try:
        for row in reward.reward(rows):
            if row.reward is not None and math.isfinite(row.reward):
                found[row.id] = row.reward
            else:
                reasons[row.unscored or f"the reward is {row.reward}"] += 1
    except Exception as error:
        # A reward may be anybody's code; a look without it is no end of a long run.
        log.warning("%s failed on %d completions", named, len(rows), exc_info=True)
        reasons[f"{type(error).__name__}: {error}"] += len(rows)
        found = dict.fromkeys(found)
    if reasons:
        unscored[named] = dict(reasons)
    return found
