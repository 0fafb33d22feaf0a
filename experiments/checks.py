"""Methods on pairs in the world of `world.py`, looked at inside their one pass over the data."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from world import LONGEST, Lab, kept

from charter.records import Exchange, Preference, Prompt, Sampling
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.policy import Policy
from charter.training.reference import StartWeights
from charter.training.source import Batch, FixedSource

LOSSES = ("dpo", "ipo", "slic")
"""Of Rafailov et al. 2024; their hinge is `charter`'s slic."""


@dataclass(frozen=True)
class Check:
    """A policy inside a run. kl: to the reference, in nats per completion, k1.  gold: of its completions, with its
    standard error.  wins: share of them better than the reference's own answer to the same request.  length: in words.
    implicit: of held-out completions of the reference, the slope of the log-ratio over length (nats a word), the
    correlation of both, and the correlation of log-ratio and gold reward.
    """

    share: float
    kl: float
    gold: float
    error: float
    wins: float
    length: float
    slope: float
    with_length: float
    with_gold: float


@dataclass(frozen=True)
class HeldOut:
    """What a policy is asked, what the reference answered, and completions to read the implicit reward on."""

    asked: Sequence[Prompt]
    answered: Sequence[float]
    groups: Sequence[Group]
    before: Mapping[str, Tensor]
    lengths: Sequence[int]
    gold: Sequence[float]


@dataclass
class Watched:
    """A fixed source that has the policy looked at before some of its steps."""

    inner: FixedSource
    steps: frozenset[int]
    look: Callable[[int], None]

    @property
    def rows(self) -> int:
        """How many groups there are."""
        return self.inner.rows

    def digest(self) -> str:
        """Of the groups."""
        return self.inner.digest()

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Nothing."""

    def batch(self, step: int) -> Batch:
        """The groups whose turn it is."""
        if step in self.steps:
            self.look(step)
        return self.inner.batch(step)


def held_out(lab: Lab, policy: Policy, logprobs: CompletionLogprobs, count: int) -> HeldOut:
    """Requests and completions that no run trains on; the policy is still the reference."""
    from charter.models.generation.local import LocalTextModel
    from charter.training.scoring import logprob_sums

    asked = lab.world.prompts(count, 77)
    speaker = LocalTextModel.of(policy.model, policy.format.tokenizer, max_rows=256)
    answers = speaker.generate([one.prompt for one in asked], Sampling(LONGEST, 1.0, n=1, seed=77))
    rows = [Exchange(one.id, one.prompt, own[0].text) for one, own in zip(asked, answers, strict=True)]
    groups = [
        Group(one.id, policy.format.prompt_ids(one.prompt), (tuple(own[0].tokens),))
        for one, own in zip(asked, answers, strict=True)
    ]
    gold = lab.gold(rows)
    before = logprob_sums(logprobs, groups, 4096)
    return HeldOut(asked, gold, groups, before, [len(row.completion.split()) for row in rows], gold)


def run_pairs(
    lab: Lab, folder: Path, name: str, pairs: Sequence[Preference], looks: int, count: int, **settings: Any
) -> list[Check]:
    """A method of `LOSSES` for one pass over the pairs; what its policy is at `looks` places up to the end."""

    def work() -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        found = [asdict(one) for one in _checked(lab, folder, name, pairs, looks, count, settings)]
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return {"checks": found}

    return [Check(**one) for one in kept(folder / "checks.json", work)["checks"]]


def _checked(
    lab: Lab, folder: Path, name: str, pairs: Sequence[Preference], looks: int, count: int, settings: dict[str, Any]
) -> list[Check]:
    import importlib

    from charter.training.catalogue import method
    from charter.training.loop import train_on
    from charter.training.methods.pairs import PairObjective
    from charter.training.policy import trainable_policy
    from charter.training.rows import preference_groups
    from charter.training.scoring import logprob_sums
    from charter.training.source import steps_per_epoch

    how = method(name).settings.model_validate({"lora": None, "row_tokens": 4096, "save_every": 10**6, **settings})
    pair_loss = importlib.import_module(f"charter.training.methods.{name}").pair_loss(how)
    policy = trainable_policy(lab.reference, None, how.seed)
    groups, _ = preference_groups(pairs, policy.format, how.max_tokens)
    logprobs, start = CompletionLogprobs(policy.model), StartWeights(policy.model)
    test = held_out(lab, policy, logprobs, count)
    objective = PairObjective(pair_loss, logprob_sums(logprobs, groups, 4096))
    total = steps_per_epoch(len(groups), how) * how.epochs
    found: list[Check] = []

    def look(step: int) -> None:
        found.append(check(lab, policy, logprobs, start, test, step / total))

    places = frozenset(round(total * place / looks) for place in range(1, looks))
    source = Watched(FixedSource(groups, objective, how), places, look)
    train_on(source, logprobs, how, folder, title=name, identity=policy.digest)
    look(total)
    return found


def check(
    lab: Lab, policy: Policy, logprobs: CompletionLogprobs, start: StartWeights, test: HeldOut, share: float
) -> Check:
    """The policy as it is now."""
    from charter.models.generation.local import LocalTextModel
    from charter.training.scoring import logprob_sums

    speaker = LocalTextModel.of(policy.model, policy.format.tokenizer, max_rows=256)
    answers = speaker.generate([one.prompt for one in test.asked], Sampling(LONGEST, 1.0, n=1, seed=78))
    said = [own[0] for own in answers]
    gold = lab.gold([Exchange(p.id, p.prompt, one.text) for p, one in zip(test.asked, said, strict=True)])
    own_groups = [
        Group(group.key, group.prompt, (tuple(one.tokens),)) for group, one in zip(test.groups, said, strict=True)
    ]
    now = logprob_sums(logprobs, own_groups, 4096)
    after = logprob_sums(logprobs, test.groups, 4096)
    with start.restored():
        then = logprob_sums(logprobs, own_groups, 4096)
    kl = statistics.fmean(float(now[key][0] - then[key][0]) for key in now)
    implicit = [float(after[group.key][0] - test.before[group.key][0]) for group in test.groups]
    moved = len(set(implicit)) > 1
    return Check(
        share, kl, statistics.fmean(gold), statistics.stdev(gold) / math.sqrt(len(gold)),
        statistics.fmean((a > b) + 0.5 * (a == b) for a, b in zip(gold, test.answered, strict=True)),
        statistics.fmean(len(one.text.split()) for one in said),
        statistics.linear_regression(test.lengths, implicit).slope,
        statistics.correlation(test.lengths, implicit) if moved else 0.0,
        statistics.correlation(test.gold, implicit) if moved else 0.0,
    )  # fmt: skip
