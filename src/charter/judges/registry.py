"""Judges by name: `refusal` and `harm` ship with the package; `KIND:MODEL` puts a model of yours behind a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from charter.errors import UserError, nearest
from charter.judges.guards import FORMATS
from charter.ports import Judge, Reward


def _refusal() -> Judge:
    from charter.judges.refusal import RefusalJudge

    return RefusalJudge()


def _harm() -> Judge:
    from charter.judges.harm import HarmJudge

    return HarmJudge()


def _rubric(model: str | None = None) -> Judge:
    from charter.judges.rubric import RubricJudge

    return RubricJudge(model)


_JUDGES: Final[dict[str, Callable[[], Judge]]] = {"harm": _harm, "refusal": _refusal, "rubric": _rubric}
_KINDS: Final = ("rubric", *FORMATS, "reward")


def judge_names() -> list[str]:
    """The names of judges that need no model to be named."""
    return sorted(_JUDGES)


def is_judge(name: str) -> bool:
    """Whether the name has the form of a judge's; its model may still be missing."""
    kind, colon, model = name.partition(":")
    return name in _JUDGES or (kind in _KINDS and bool(colon and model))


def judge_digest(name: str) -> str:
    """What decides the judge's scores besides its code: sha256 of its weights; an endpoint stands under its name."""
    from charter.judges.embedded import weights_digest
    from charter.models.loading import named_digest

    shipped = weights_digest(name)
    if shipped is not None:
        return shipped
    model = judging_model(name)
    return hashlib.sha256(name.encode()).hexdigest() if model.startswith("openai:") else named_digest(model)


def judging_model(name: str) -> str:
    """The model behind a judge that has one: of `KIND:MODEL` the second part, without a reward's threshold."""
    kind, _, model = name.partition(":")
    if kind == "rubric" and not model:
        from charter.judges.rubric import default_model

        return default_model()
    folder, at, _ = model.rpartition("@")
    return folder if kind == "reward" and at and folder else model


def judge(name: str, rewards: Callable[[str], Reward] | None = None) -> Judge:
    """The judge of that name, loaded: `refusal`, `harm`, `rubric`, `rubric:MODEL`, `llama-guard:MODEL`,
    `granite-guardian:MODEL`, `wildguard:MODEL`, or `reward:FOLDER`, `reward:FOLDER@THRESHOLD`.

    rewards: makes a reward model from its folder; reward models live in a room beside this one, so a caller above both
    brings it. Raises UserError for an unknown name, or when its model is not installed.
    """
    if name in _JUDGES:
        return _JUDGES[name]()
    kind, _, model = name.partition(":")
    if not is_judge(name):
        known = [*judge_names(), *(f"{kind}:MODEL" for kind in _KINDS)]
        raise UserError(f'There is no judge named "{name}".{nearest(name, known)} Judges: {", ".join(known)}.')
    if kind == "rubric":
        return _rubric(model)
    if kind == "reward":
        return _reward(model, rewards)
    from charter.judges.guards import GuardJudge

    return GuardJudge(kind, model)


def _reward(model: str, rewards: Callable[[str], Reward] | None) -> Judge:
    from charter.judges.by_reward import RewardJudge

    folder, at, number = model.rpartition("@")
    try:
        threshold = float(number) if at else 0.0
    except ValueError:
        folder, threshold = model, 0.0
    if rewards is None:
        raise UserError(f'The judge "reward:{model}" cannot be used here; give it to `charter judge`, or to a suite.')
    return RewardJudge(rewards(folder if at and folder else model), threshold)
