"""Kahneman-Tversky optimisation: single completions that were found desirable or not, no pairs needed.

The reference point is an estimate of KL(policy || reference) from the batch's prompts with one another's completions.
Which they are follows from the data order, so their log-probs under the reference are computed before training, with
those of the rows themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from charter.ports import Observer
from charter.records import Rated
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, sum_by_completion
from charter.training.loop import train
from charter.training.losses import kto_loss
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.objective import LogprobSums, Tally
from charter.training.observing import observation
from charter.training.policy import trainable_policy
from charter.training.reference import cached_reference
from charter.training.rows import single_groups
from charter.training.settings import TrainSettings
from charter.training.source import batches
from charter.training.watch_settings import WatchSettings, watch_field


class KtoSettings(TrainSettings):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024)."""

    method: Literal["kto"] = "kto"
    batch_size: int = Field(
        16, ge=2, description="Completions per optimiser step; the KL is estimated within it, so larger is steadier."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    desirable_weight: float = Field(1.0, gt=0, description="Weight of desirable completions' losses.")
    undesirable_weight: float = Field(1.0, gt=0, description="Weight of undesirable completions' losses.")
    watch: WatchSettings | None = watch_field()


@dataclass(frozen=True)
class KtoObjective:
    """Groups of one completion each.

    reference: per key, the summed log-prob (1,) under the reference, of the groups and of all `mismatched` ones.
    desirable: by key.  weights: how much a row counts, by key; 1 where it has no entry.
    max_tokens: mismatched rows longer than that are left out.  kl, of `kl_rows` mismatched rows: set for each batch.
    """

    reference: Mapping[str, Tensor]
    desirable: Mapping[str, bool]
    weights: Mapping[str, float]
    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    max_tokens: int | None = None
    kl: float | None = None
    kl_rows: int = 0

    def weight(self, group: Group) -> float:
        """The row's weight: the loss is a mean over completions, weighted by it."""
        return self.weights.get(group.key, 1.0)

    def for_batch(self, batch: Sequence[Group], logprob_sums: LogprobSums) -> KtoObjective:
        """This objective with the batch's KL: the mean log-ratio of mismatched completions, at least zero."""
        strangers = mismatched(batch, self.max_tokens)
        if not strangers:
            return replace(self, kl=0.0, kl_rows=0)
        policy = logprob_sums(strangers)
        ratios = [policy[group.key] - self.reference[group.key] for group in strangers]
        return replace(self, kl=max(torch.cat(ratios).mean().item(), 0.0), kl_rows=len(strangers))

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row's completions. Raises ValueError before `for_batch`."""
        if self.kl is None:
            raise ValueError("the KL is not set; call `for_batch` first")
        reference_C = torch.cat([self.reference[group.key] for group in row.groups]).to(logp_N.device)
        ratios_C = sum_by_completion(logp_N, row) - reference_C
        good_C = torch.tensor([self.desirable[group.key] for group in row.groups], device=logp_N.device)
        losses_C = kto_loss(ratios_C, good_C, self.kl, self.beta)
        kinds = [
            self.desirable_weight if self.desirable[group.key] else self.undesirable_weight for group in row.groups
        ]
        rewards_C = self.beta * ratios_C.detach()
        for name, which_C in (("desirable_reward", good_C), ("undesirable_reward", ~good_C)):
            if which_C.any():
                tally.add(name, rewards_C[which_C].sum(), int(which_C.sum()))
        tally.add("kl", self.kl * row.completions, row.completions)
        tally.add("kl_rows", self.kl_rows * row.completions, row.completions)
        weights = [kind * self.weight(group) for kind, group in zip(kinds, row.groups, strict=True)]
        return (losses_C * losses_C.new_tensor(weights)).sum()


def mismatched(batch: Sequence[Group], max_tokens: int | None = None) -> list[Group]:
    """The batch's prompts with other rows' completions, for the KL: every completion goes to a prompt not its own.

    Rows are taken in the order of their keys, so that the order within a batch changes nothing, and completions are
    passed on by the smallest step that makes the most rows. Left out are those that a prompt of their own would get (a
    prompt can occur several times) and those longer than `max_tokens`. A batch of one prompt gives none.
    """
    rows = sorted(batch, key=lambda group: group.key)

    def fits(to: Group, of: Group) -> bool:
        return max_tokens is None or len(to.prompt) + len(of.completions[0]) <= max_tokens

    def passed(step: int) -> list[tuple[Group, Group]]:
        pairs = ((rows[i], rows[i - step]) for i in range(len(rows)))
        return [(to, of) for to, of in pairs if to.prompt != of.prompt and fits(to, of)]

    best: list[tuple[Group, Group]] = []
    for step in range(1, len(rows)):
        best = max(best, passed(step), key=len)
        if len(best) == len(rows):
            break
    return [Group(f"{to.key} < {of.key}", to.prompt, of.completions) for to, of in best]


def train_kto(
    model: str, rows: Sequence[Rated], settings: KtoSettings, folder: Path, *, observer: Observer | None = None
) -> Trained:
    """Optimise `model` on rated completions; the reference is `model` itself. The result is `folder/model`."""
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, weights, dropped = single_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "KTO")
    desirable = {row.id: row.desirable for row in rows}
    strangers = {
        group.key: group for batch in batches(groups, settings) for group in mismatched(batch, settings.max_tokens)
    }
    reference = cached_reference(
        CompletionLogprobs(policy.model),
        [*groups, *strangers.values()],
        settings.row_tokens,
        policy.digest,
        folder / "reference",
    )
    objective = KtoObjective(
        reference,
        desirable,
        weights,
        settings.beta,
        settings.desirable_weight,
        settings.undesirable_weight,
        settings.max_tokens,
    )
    labels = "".join("+" if desirable[group.key] else "-" for group in groups)
    identity = f"{policy.digest} {labels}"
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train(policy.model, objective, groups, settings, folder, title="KTO", identity=identity, observation=looks)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(KtoSettings, train_kto)
