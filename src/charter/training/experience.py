"""What is known of a rollout before it is learned from: scores and log-probs, flat over completions and tokens.

Axes as in `segments.py`: N completion tokens, C completions, G prompts, each in the order in which they were sampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from charter.training.kl import k1, k3
from charter.training.layout import Group
from charter.training.rollouts import Rollout
from charter.training.segments import Segments
from charter.training.token_rewards import scored_tokens, token_rewards


@dataclass(frozen=True, eq=False)
class Experience:
    """A rollout as tensors, fp32 on the CPU.

    groups: a prompt and its completions each.  scores_C: rewards; NaN where there is none.
    sampled_N: log-probs by what sampled.  old_N: by the forward that trains, with the weights of the rollout; None
    where nothing needs them.  reference_N: by the reference; None without one.  values_N: a critic's, if there is one.
    costs_C: what a constraint is on; NaN where nobody could say; None without a constraint.
    dropped_C: boolean, completions that nothing is learned from though they may have a score; None without any.
    """

    groups: tuple[Group, ...]
    scores_C: Tensor
    sampled_N: Tensor
    old_N: Tensor | None = None
    reference_N: Tensor | None = None
    values_N: Tensor | None = None
    costs_C: Tensor | None = None
    dropped_C: Tensor | None = None

    @cached_property
    def completions(self) -> Segments:
        """Tokens by completion."""
        return Segments.of([len(completion) for group in self.groups for completion in group.completions])

    @cached_property
    def prompts(self) -> Segments:
        """Completions by prompt."""
        return Segments.of([len(group.completions) for group in self.groups])

    @cached_property
    def keep_N(self) -> Tensor:
        """The tokens that are learned from: those of completions with a score, and not dropped."""
        learned_N = None if self.dropped_C is None else self.completions.spread(~self.dropped_C)
        return scored_tokens(self.scores_C, self.completions, learned_N)

    @property
    def policy_N(self) -> Tensor:
        """The policy's log-probs at the time of the rollout, as well as they are known."""
        return self.sampled_N if self.old_N is None else self.old_N

    def kl_N(self) -> Tensor:
        """k1 of policy and reference per token. Raises ValueError without a reference."""
        if self.reference_N is None:
            raise ValueError("there is no KL without a reference")
        return k1(self.policy_N, self.reference_N)

    def penalised_C(self, beta: float) -> Tensor:
        """Scores less beta times the summed k1 of their completion."""
        return self.scores_C - beta * self.completions.sum(self.kl_N()) if beta else self.scores_C

    def rewards_N(self, scores_C: Tensor, beta: float) -> Tensor:
        """Rewards of tokens: the scores at the last ones, less beta times k1."""
        kl_N = self.kl_N() if beta else torch.zeros_like(self.sampled_N)
        return token_rewards(scores_C, kl_N, beta, self.completions, self.keep_N)

    def by_key(self, values_N: Tensor | None) -> dict[str, Tensor]:
        """Each group's part of values per token; nothing of None."""
        if values_N is None:
            return {}
        sizes = [sum(map(len, group.completions)) for group in self.groups]
        return {group.key: part for group, part in zip(self.groups, values_N.split(sizes), strict=True)}


def experience(rollouts: Sequence[Rollout], drop_cut: bool = False) -> Experience:
    """From what was sampled; log-probs of training and reference are added with `dataclasses.replace`.

    drop_cut: learn nothing from completions that their length cut (overlong filtering; Yu et al. 2025, arXiv
    2503.14476, section 3.4).
    """
    samples = [sample for rollout in rollouts for sample in rollout.samples]
    return Experience(
        tuple(rollout.group() for rollout in rollouts),
        torch.tensor([math.nan if sample.reward is None else sample.reward for sample in samples]),
        torch.tensor([logp for sample in samples for logp in sample.logprobs]),
        costs_C=torch.tensor([math.nan if sample.cost is None else sample.cost for sample in samples]),
        dropped_C=torch.tensor([not sample.finished for sample in samples]) if drop_cut else None,
    )


def flat(by_key: Mapping[str, Sequence[Tensor]], groups: Sequence[Group]) -> Tensor:
    """Per-completion tensors of `completion_logprobs` as one, in the order of the groups."""
    return torch.cat([part for group in groups for part in by_key[group.key]])


def kl_of(found: Experience) -> dict[str, float]:
    """KL(policy || reference) per completion, in nats, summed over tokens: by k1 and by k3; nothing without reference.

    Of all samples, scored or not: those that were scored would be biased.
    """
    if found.reference_N is None:
        return {}
    pairs = {"kl": found.kl_N(), "kl_k3": k3(found.policy_N, found.reference_N)}
    return {name: float(found.completions.sum(values_N).mean()) for name, values_N in pairs.items()}


def gap_of(found: Experience) -> dict[str, float]:
    """How far the log-probs of sampling and of training are apart, per token; nothing where the latter are unknown."""
    if found.old_N is None:
        return {}
    apart_N = (found.old_N - found.sampled_N).abs()
    return {"logprob_gap": float(apart_N.mean()), "logprob_gap_max": float(apart_N.max())}
