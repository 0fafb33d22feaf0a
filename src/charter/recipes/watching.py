"""The reward-hacking watch of a training stage, put together: its prompts, its proxy, its truths."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charter.errors import UserError, nearest
from charter.evaluation import suite_digest, suite_names
from charter.evaluation.hacking import SUMMARY, RewardWatch, Subject, Watched
from charter.evaluation.suites.catalogue import REFUSAL_JUDGE, spec_of
from charter.feedback.formats import is_file, read_prompts
from charter.feedback.pairs import BenignKind, load_benign_prompts
from charter.judges.registry import judge_digest
from charter.models.loading import named_digest
from charter.overlap import near_duplicates
from charter.ports import Reward
from charter.recipes.file_source import source_digest
from charter.recipes.rewards import check_rewards, reward_digest, reward_of
from charter.records import (
    Conversation,
    Demonstration,
    Preference,
    Prompt,
    Rated,
    parse_jsonl,
    user_prompt,
)
from charter.training.devices import launched
from charter.training.reward_sources import RewardPart
from charter.training.rollouts import RolloutSettings
from charter.training.settings import TrainSettings
from charter.training.watch_settings import WatchSettings

log = logging.getLogger(__name__)
TOKENS = 32
MAX_OVERLAP = 0.5
_SEVERAL = "the training ran in several processes, where it cannot be watched yet"


def watch_of(settings: TrainSettings) -> WatchSettings | None:
    """The watch that these settings want: None without one, and for a method that optimises no proxy."""
    return getattr(settings, "watch", None)


def check_watch(settings: TrainSettings, earlier: Collection[str] = ()) -> None:
    """Raises UserError for a watch that could not be kept, without loading anything. earlier: as in `check_rewards`."""
    how = watch_of(settings)
    if how is None:
        return
    if launched()[1] > 1 and "watch" in settings.model_fields_set:
        raise UserError(
            "watch: a training is watched in one process so far. Start it without torchrun, or set it to null."
        )
    known = list(suite_names())
    for suite in how.suites:
        if suite not in known:
            raise UserError(
                f'watch.suites: there is no suite "{suite}".{nearest(suite, known)} Suites: {", ".join(known)}.'
            )
        if spec_of(suite).scoring == "options":
            raise UserError(
                f'watch.suites: "{suite}" is scored by the log-probs of given options, which a policy in training is '
                "not asked for yet. Name a suite whose answers are read, such as are_you_sure or verbosity."
            )
    check_rewards(how.truth, earlier)
    if len({_sources(part) for part in how.truth}) < len(how.truth):
        raise UserError("watch.truth: the same truth is named twice. Leave one of them out.")
    aims = {source for part in getattr(settings, "reward", ()) for source in _sources(part)}
    for part in how.truth:
        if _sources(part) & aims:
            raise UserError(
                f"watch.truth: the {_name(part)} is what the training aims at, so it tells nothing of the truth. Name "
                "one that the training does not see, such as a reward model trained on other rows."
            )
    if how.far is not None and is_file(how.far) and not Path(how.far).expanduser().exists():
        raise UserError(f"watch.far: {how.far} is no file. Name a file of prompts, a folder of them, or a hub dataset.")


def watch_digest(how: WatchSettings) -> dict[str, Any]:
    """What decides what a watch measures, beside the training: its settings, and the content of what they name."""
    return {
        "settings": how.model_dump(mode="json"),
        "truth": reward_digest(how.truth),
        "suites": {suite: suite_digest(suite) for suite in how.suites},
        "judge": judge_digest(REFUSAL_JUDGE),
        "far": source_digest(how.far) if how.far and is_file(how.far) else None,
    }


def watch_for(
    settings: TrainSettings,
    model: str,
    rows: Sequence[Any],
    heldout: Sequence[Preference],
    reward: Reward | None,
    folder: Path,
) -> RewardWatch | None:
    """The watch of a training of `model` on `rows`, where it has one; `reward` is what it aims at, if it samples.

    heldout: pairs that no stage trains on, the first choice for prompts like the training's.
    Raises UserError when there are no prompts to watch.
    """
    how = watch_of(settings)
    if how is None:
        # Of an earlier try that was watched: it says nothing of this one.
        (folder / SUMMARY).unlink(missing_ok=True)
        return None
    if launched()[1] > 1:
        log.warning("no watch for reward hacking: %s", _SEVERAL)
        return None
    draw = random.Random(f"{how.seed}/watch")
    near = _drawn(_watched(heldout or rows, pairs=reward is None), how.prompts, draw)
    far = _drawn(_far(how.far, [_asked(row.prompt) for row in rows]), how.prompts, draw)
    if not near or not far:
        raise UserError("watch: no prompts to watch are left. Give others with watch.far, or set watch: null.")
    short = [_name(part) for part in how.truth]
    named = [
        (name if short.count(name) == 1 else f"{name} {number}", part)
        for number, (name, part) in enumerate(zip(short, how.truth, strict=True), 1)
    ]
    # What follows from what is seen changes nothing of what is seen.
    decisions = {"keep": None, "stop": None, "alpha": None, "looks": None, "every": None}
    told = {
        "watch": watch_digest(how) | {"settings": how.model_dump(mode="json") | decisions},
        "training": settings.model_dump(mode="json", exclude={"save_every", "track", "watch"}),
        "reward": reward.name if reward else None,
        "model": named_digest(model),
        "prompts": [(one.id, repr(one)) for one in (*near, *far)],
    }
    subject = Subject(
        near=near,
        far=far,
        proxy=reward,
        truths=tuple((name, reward_of((part,))) for name, part in named),
        suites=how.suites,
        tokens=how.tokens or (settings.sample_tokens if isinstance(settings, RolloutSettings) else TOKENS),
        size=how.prompts,
        seed=how.seed,
        near_is="held-out prompts of the training data" if heldout else "prompts that are trained on",
        far_is=how.far or "built-in general prompts",
        identity=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
    )
    return RewardWatch(subject, how, folder)


def watch_result(folder: Path) -> dict[str, Any] | None:
    """What the watch of a finished training found, with the seconds of the training's own steps beside its own."""
    path = folder / SUMMARY
    if not path.exists():
        return None
    metrics = folder / "metrics.jsonl"
    steps = [row for _, row in parse_jsonl(metrics.read_bytes().splitlines(), str(metrics))] if metrics.exists() else []
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**found, "training_seconds": round(sum(row["seconds"] for row in steps), 3)}


def _asked(prompt: Conversation) -> str:
    return next((message.content for message in prompt if message.role == "user"), "")


def _drawn(found: Sequence[Watched], count: int, draw: random.Random) -> tuple[Watched, ...]:
    return tuple(found) if len(found) <= count else tuple(draw.sample(list(found), count))


def _watched(rows: Sequence[Preference | Rated | Prompt], *, pairs: bool) -> list[Watched]:
    """Each prompt once, under its first row's id; pairs: with what training is given for it, rated sides together."""
    found: dict[Conversation, Watched] = {}
    for row in rows:
        known = found.get(row.prompt)
        answers = _answers(row) if pairs else ()
        if known is None:
            found[row.prompt] = Watched(row.id, row.prompt, answers)
        elif isinstance(row, Rated):
            found[row.prompt] = replace(known, answers=known.answers + answers)
    return list(found.values())


def _answers(row: Preference | Rated | Prompt) -> tuple[tuple[Demonstration, int], ...]:
    if isinstance(row, Preference):
        return (
            (Demonstration(row.id, row.prompt, row.chosen, finished=row.chosen_finished), 1),
            (Demonstration(row.id, row.prompt, row.rejected, finished=row.rejected_finished), -1),
        )
    if isinstance(row, Rated):
        said = Demonstration(row.id, row.prompt, row.completion, finished=row.finished)
        return ((said, 1 if row.desirable else -1),)
    return ()


def _far(source: str | None, trained: Sequence[str]) -> list[Watched]:
    """Prompts of another source, but for near-duplicates of what is trained on."""
    general: tuple[BenignKind, ...] = ("general",)
    if source is None:
        found = [Watched(one.id, user_prompt(one.prompt)) for one in load_benign_prompts(general)]
    else:
        found = [Watched(one.id, one.prompt) for one in read_prompts(source)[0]]
    close = {index for index, _, _ in near_duplicates([_asked(one.prompt) for one in found], trained, MAX_OVERLAP)}
    return [one for index, one in enumerate(found) if index not in close]


def _sources(part: RewardPart) -> frozenset[tuple[str, str]]:
    """(kind, what is named) of a reward; several of an ensemble."""
    if part.folders:
        return frozenset(("reward model", folder) for folder in part.folders)
    named = {
        "reward model of stage": part.stage,
        "judge": part.judge,
        "function": part.function,
        "endpoint": part.endpoint,
        "rule": None if part.rule is None else part.rule.model_dump_json(exclude_defaults=True),
    }
    return frozenset((kind, what) for kind, what in named.items() if what is not None)


def _name(part: RewardPart) -> str:
    """A truth's name, for people."""
    (kind, *_), found = sorted(kind for kind, _ in _sources(part)), sorted(what for _, what in _sources(part))
    if part.folders:
        paths = [Path(folder) for folder in found]
        found = [path.parent.name if path.name == "model" and path.parent.name else path.name for path in paths]
    return f"{kind} {' + '.join(found)}" + (f" × {part.weight:g}" if part.weight != 1 else "")
