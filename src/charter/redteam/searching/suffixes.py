"""Suffixes optimised on the target's weights: by its gradients (GCG), one for all behaviours, or by random changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from charter.records import user_prompt
from charter.redteam.protocol import JAILBREAK, WHITE_BOX, Behaviour, Query, Search, Setting, Spec

if TYPE_CHECKING:
    from charter.models.loading import LocalModel

FIRST: Final = "x x x x x x x x x x x x x x x x x x x x"
_RANDOM_WIDTH: Final = 16


class Gcg:
    """A suffix for each behaviour, then its prompt."""

    spec = Spec(
        "gcg",
        "suffix",
        (JAILBREAK, WHITE_BOX),
        "A suffix that makes the target's opening likely, by greedy coordinate gradient (--steps, --width).",
        ("weights",),
    )

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """One query, with the best suffix."""
        key = f"gcg:{setting.steps}:{setting.width}:{setting.seed}:{behaviour.text}:{behaviour.opening()}"
        found = setting.remember(key, lambda: _gradient(setting, [behaviour]))
        yield [Query(user_prompt(f"{behaviour.text}{found['text']}"), setting.sampling)]


class GcgUniversal:
    """One suffix for all behaviours of the run, found once, asked with each."""

    spec = Spec(
        "gcg-universal",
        "suffix",
        (JAILBREAK, WHITE_BOX),
        "One suffix for all behaviours of the run together (--steps, --width).",
        ("weights",),
    )

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """One query, with the common suffix."""
        everyone = [f"{b.text}:{b.opening()}" for b in setting.behaviours]
        key = f"gcg-universal:{setting.steps}:{setting.width}:{setting.seed}:{everyone}"
        found = setting.remember(key, lambda: _gradient(setting, setting.behaviours))
        yield [Query(user_prompt(f"{behaviour.text}{found['text']}"), setting.sampling)]


class RandomSearch:
    """A suffix by random changes of neighbouring tokens that lower the loss (Andriushchenko et al. 2024)."""

    spec = Spec(
        "random-search",
        "suffix",
        (JAILBREAK, WHITE_BOX),
        "A suffix found by random changes, kept when the target's opening grows more likely (--steps).",
        ("weights",),
    )

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """One query, with the best suffix."""
        key = f"random-search:{setting.steps}:{setting.seed}:{behaviour.text}:{behaviour.opening()}"
        found = setting.remember(key, lambda: _random(setting, behaviour))
        yield [Query(user_prompt(f"{behaviour.text}{found['text']}"), setting.sampling)]


def _local(setting: Setting) -> LocalModel:
    assert setting.local is not None, "the sweep starts no attack that needs weights without them"
    return setting.local


def _gradient(setting: Setting, behaviours: Sequence[Behaviour]) -> dict[str, Any]:
    from charter.models.template import chat_format
    from charter.redteam.gcg import GCGSettings, Objective, problem_of, search
    from charter.redteam.gcg.objective import ready

    local = _local(setting)
    format_ = chat_format(local.tokenizer)
    posed = [problem_of(format_, behaviour.text, behaviour.opening(), FIRST) for behaviour in behaviours]
    settings = GCGSettings(steps=setting.steps, width=setting.width, seed=setting.seed)
    with ready(local.model):
        objectives = [Objective(local.model, problem) for problem, _ in posed]
        found = search(objectives, local.tokenizer, posed[0][1], settings, stop_when_matched=True)
    return {"text": found.text, "loss": found.loss, "steps": len(found.losses)}


def _random(setting: Setting, behaviour: Behaviour) -> dict[str, Any]:
    from charter.models.template import chat_format
    from charter.redteam.gcg import Objective, problem_of
    from charter.redteam.gcg.objective import ready
    from charter.redteam.gcg.random_search import random_search

    local = _local(setting)
    problem, start = problem_of(chat_format(local.tokenizer), behaviour.text, behaviour.opening(), FIRST)
    with ready(local.model):
        objective = Objective(local.model, problem)
        text, loss = random_search(
            objective, local.tokenizer, start, steps=setting.steps, width=_RANDOM_WIDTH, seed=setting.seed
        )
    return {"text": text, "loss": loss, "steps": setting.steps}
