"""Rollouts: completions sampled from the policy as it is, with their rewards. What is learned from them is a method's.

The tokens are those that were sampled, never tokenised again: one that the length cut has no end-of-turn token, the
others end with the stop token that was drawn. A sample depends on seed, step, prompt and its number alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from pydantic import Field, model_validator
from torch import Tensor

from charter.errors import Unfinished, UserError
from charter.models.generation.local import LocalTextModel
from charter.models.generation.support import context_of
from charter.ports import Reward
from charter.records import Exchange, Prompt, Rewarded, Sampling
from charter.training.devices import launched
from charter.training.layout import Group, Row
from charter.training.metrics import resumed_file
from charter.training.objective import Objective, Tally
from charter.training.policy import Policy
from charter.training.reward_sources import RewardPart
from charter.training.rows import PromptIds, prompt_ids
from charter.training.settings import TrainSettings
from charter.training.source import in_turn
from charter.training.watch_settings import WatchSettings, watch_field

log = logging.getLogger(__name__)
SAMPLES = "samples.jsonl"
_PATIENCE = 5
"""Batches in a row without any reward, after which the reward is taken to be broken."""


class RolloutSettings(TrainSettings):
    """What every method that samples its own completions has."""

    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    max_tokens: int = Field(1024, ge=2, description="Prompts longer than this with a whole completion are dropped.")
    samples: int = Field(2, ge=2, description="Completions sampled of each prompt.")
    sample_tokens: int = Field(64, ge=1, description="Length at which a completion is cut.")
    temperature: float = Field(
        1.0, gt=0, description="Of sampling; log-probs of policy and reference are taken at it as well."
    )
    missing_eos_penalty: float = Field(
        0.0, ge=0, description="Taken from the reward of a completion that was cut before its end of turn."
    )
    missing_eos_reward: float | None = Field(
        None, description="Reward of a completion that was cut, in the place of what it got; also where it got none."
    )
    reward: tuple[RewardPart, ...] = Field(min_length=1, description="What is aimed at; several are summed.")
    watch: WatchSettings | None = watch_field()

    @model_validator(mode="after")
    def _completions_fit(self) -> RolloutSettings:
        if self.sample_tokens >= self.max_tokens:
            raise ValueError("sample_tokens must be below max_tokens, which hold a prompt and a completion")
        if self.missing_eos_penalty and self.missing_eos_reward is not None:
            raise ValueError("missing_eos_penalty does nothing beside missing_eos_reward: leave one of them out")
        return self


@dataclass(frozen=True)
class Sample:
    """A sampled completion: its text, its tokens, and their log-probs (nats) as they were drawn.

    finished: False when the length cut it.  reward: None when there is none, with the reason in `unscored`.
    cost: what a constraint is on; None without one, or when nobody could say.  parts: what the reward is a sum of, by
    label and before it is weighed.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    reward: float | None
    unscored: str | None = None
    cost: float | None = None
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Rollout:
    """A prompt, as token ids, and what was sampled of it."""

    key: str
    prompt: tuple[int, ...]
    samples: tuple[Sample, ...]

    def group(self, which: Sequence[int] | None = None) -> Group:
        """Those samples (all, when left out) as a group to train on."""
        chosen = self.samples if which is None else [self.samples[i] for i in which]
        return Group(self.key, self.prompt, tuple(sample.tokens for sample in chosen))


def usable_prompts(
    policy: Policy, rows: Sequence[Prompt], settings: RolloutSettings, title: str
) -> tuple[list[PromptIds], Counter[str]]:
    """(prompts with their token ids, dropped by reason).

    Raises UserError when none is left, and under torchrun, where rollouts are not shared out yet.
    """
    if launched()[1] > 1:
        raise UserError(f"{title}: methods that sample their own data run in one process. Start it without torchrun.")
    longest = min(settings.max_tokens, context_of(policy.model) or settings.max_tokens)
    prompts, dropped = prompt_ids(rows, policy.format, longest - settings.sample_tokens)
    if not prompts:
        why = ", ".join(f"{reason}: {count}" for reason, count in dropped.items()) or "the data is empty"
        raise UserError(
            f"{title}: none of the {len(rows)} prompts can be used ({why}). Check the data and the lengths."
        )
    return prompts, dropped


class Rollouts:
    """Samples of the prompts whose turn it is, scored, and written to `samples.jsonl`.

    The policy is sampled from with the weights that it has when `draw` is called.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: Sequence[PromptIds],
        reward: Reward,
        settings: RolloutSettings,
        folder: Path,
        cost: Reward | None = None,
    ) -> None:
        self.prompts, self._reward, self._settings, self._folder = prompts, reward, settings, folder
        self._cost = cost
        self._model = LocalTextModel.of(policy.model, policy.format.tokenizer)
        self._file: TextIO | None = None
        self._in_vain = 0

    def digest(self) -> str:
        """sha256 of the prompts and of the names of reward and cost."""
        told = [(one.key, one.ids) for one in self.prompts]
        names = self._reward.name, self._cost and self._cost.name
        return hashlib.sha256(repr((names, told)).encode()).hexdigest()

    def draw(self, batch: int) -> tuple[list[Rollout], dict[str, float]]:
        """(a rollout of each prompt of that batch, what to log of them). A batch is that of a step where each has one.

        Raises Unfinished when nothing could be scored for several batches.
        """
        how, prompts = self._settings, in_turn(self.prompts, self._settings, batch)
        sampling = Sampling(how.sample_tokens, how.temperature, n=how.samples, seed=how.seed * 1_000_003 + batch)
        step = batch * how.updates
        begun = time.monotonic()
        answers = self._model.generate([one.prompt for one in prompts], sampling)
        sampled = time.monotonic()
        flat = [answer for own in answers for answer in own]
        rows = [
            Exchange(f"{one.key}/{number}", one.prompt, answer.text)
            for one, own in zip(prompts, answers, strict=True)
            for number, answer in enumerate(own)
        ]
        rewards = _scored(self._reward, rows)
        costs = [one.reward for one in _scored(self._cost, rows)] if self._cost else [None] * len(rows)
        samples = [
            Sample(
                answer.text,
                answer.tokens,
                answer.token_logprobs,
                answer.finish == "stop",
                *(_as_it_ended(one, how) if answer.finish != "stop" else (one.reward, one.unscored)),
                cost,
                one.parts,
            )
            for answer, one, cost in zip(flat, rewards, costs, strict=True)
        ]
        seconds = {"seconds_rollout": sampled - begun, "seconds_scoring": time.monotonic() - sampled}
        n = how.samples
        rollouts = [
            Rollout(one.key, one.ids, tuple(samples[place * n : (place + 1) * n])) for place, one in enumerate(prompts)
        ]
        self._write(step, rollouts)
        self._check(step, samples)
        return rollouts, {**sample_values(samples), **seconds}

    def _write(self, step: int, rollouts: Sequence[Rollout]) -> None:
        if self._file is None:
            # The first step of this process: what a killed one sampled beyond its checkpoint is sampled again.
            self._file = resumed_file(self._folder / SAMPLES, step)
        for rollout in rollouts:
            for number, one in enumerate(rollout.samples):
                row = {"step": step + 1, "id": rollout.key, "sample": number, "text": one.text}
                row |= {"reward": one.reward} if one.unscored is None else {"unscored": one.unscored}
                row |= {"parts": dict(one.parts)} if len(one.parts) > 1 else {}
                row |= {} if self._cost is None else {"cost": one.cost}
                row |= {"finished": one.finished, "tokens": len(one.tokens)}
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def _check(self, step: int, samples: Sequence[Sample]) -> None:
        self._in_vain = 0 if any(one.unscored is None for one in samples) else self._in_vain + 1
        if self._in_vain == _PATIENCE:
            raise Unfinished(
                f"No sample of the last {_PATIENCE} rollouts up to step {step + 1} got a reward; the newest: "
                f"{samples[-1].unscored}. The last checkpoint is kept. Mend the reward and start again; the samples "
                f"are in {self._folder / SAMPLES}."
            )


def _as_it_ended(one: Rewarded, how: RolloutSettings) -> tuple[float | None, str | None]:
    """(reward, why there is none) of a completion that was cut."""
    if how.missing_eos_reward is not None:
        return how.missing_eos_reward, None
    return None if one.reward is None else one.reward - how.missing_eos_penalty, one.unscored


def _scored(reward: Reward, rows: Sequence[Exchange]) -> list[Rewarded]:
    try:
        return reward.reward(rows)
    except UserError:
        raise
    except Exception as error:
        # A reward may be anybody's code; a failure is a step without rewards, counted, and no end of a long run.
        log.warning("the reward failed on %d samples", len(rows), exc_info=True)
        return [Rewarded(row.id, unscored=f"the reward raised {type(error).__name__}: {error}") for row in rows]


def sample_values(samples: Sequence[Sample]) -> dict[str, float]:
    """What is logged of a step's samples; the reward's mean and (population) deviation are of the scored ones."""
    rewards = [one.reward for one in samples if one.reward is not None]
    tokens = [len(one.tokens) for one in samples]
    found = {"reward": statistics.fmean(rewards), "reward_std": statistics.pstdev(rewards)} if rewards else {}
    by_part: dict[str, list[float]] = {}
    for label, value in (part for one in samples if len(one.parts) > 1 for part in one.parts):
        by_part.setdefault(label, []).append(value)
    found |= {f"reward/{label}": statistics.fmean(values) for label, values in by_part.items()}
    costs = [one.cost for one in samples if one.cost is not None]
    if costs:
        found |= {"cost": statistics.fmean(costs), "costs": len(costs)}
    return {
        **found,
        "finished": statistics.fmean(one.finished for one in samples),
        "completion_tokens": statistics.fmean(tokens),
        "sampled_tokens": sum(tokens),
        "unscored": len(samples) - len(rewards),
    }


@dataclass(frozen=True)
class SampledObjective:
    """An objective on sampled completions; it also logs how far training's log-probs are from those sampled with.

    behaviour: per key, log-probs of each completion's tokens as they were drawn. They should be those of the forward
    that trains; dropout and the rounding of bf16 keep them apart, and anything more makes an online method wrong.
    """

    objective: Objective
    behaviour: Mapping[str, Sequence[Sequence[float]]]

    def weight(self, group: Group) -> float:
        """The objective's own."""
        return self.objective.weight(group)

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """The objective's own."""
        drawn = [value for group in row.groups for part in self.behaviour[group.key] for value in part]
        apart_N = (logp_N.detach() - torch.tensor(drawn, device=logp_N.device)).abs()
        tally.add("logprob_gap", apart_N.sum(), len(apart_N))
        tally.peak("logprob_gap_max", apart_N.max())
        return self.objective.loss(logp_N, row, tally)
