"""A process reward model: every step of a completion has a reward of its own, learned from labels of the steps."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from charter.errors import UserError
from charter.models.reward_head import RewardHead, StepForm, Whole
from charter.records import Stepwise
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Group, Row
from charter.training.methods.base import Method, Trained, need_rows
from charter.training.methods.reward import HeadSettings, counts_of, train_heads
from charter.training.objective import Tally
from charter.training.reward_losses import regression_loss, step_loss
from charter.training.rewards import reward_policy
from charter.training.steps import SEPARATOR, step_groups


class ProcessSettings(HeadSettings):
    """A process reward model, from labels of steps (Uesato et al. 2022; Lightman et al. 2023)."""

    method: Literal["reward_process"] = "reward_process"
    separator: str = Field(SEPARATOR, min_length=1, description="Text that ends every step, in scoring too.")
    labels: Literal["auto", "chances", "numbers"] = Field(
        "auto",
        description="chances: labels in [0, 1], true or false as a rule, learned by cross-entropy; numbers: any, by "
        "squared error; auto: chances if every label is true, false, 1 or 0.",
    )
    last_step_only: bool = Field(False, description="Learn the last step's label alone. Needs `whole: last`.")
    whole: Whole = Field(
        "min", description="A completion's reward from those of its steps: min, product, mean or last; kept with it."
    )

    @model_validator(mode="after")
    def _what_is_read_was_trained(self) -> Self:
        if self.last_step_only and self.whole != "last":
            raise ValueError("last_step_only leaves the other steps untrained: set `whole: last` with it")
        if self.labels == "numbers" and self.whole == "product":
            raise ValueError("whole: product is of chances; with labels: numbers take min, mean or last")
        return self


@dataclass(frozen=True)
class ProcessObjective:
    """Groups of one completion read at its steps, from values (S, K) of all steps of a row.

    labels: by key, of the steps read; chances in [0, 1], or standardised numbers.  counts: as in `RewardObjective`.
    spread: the numbers' standard deviation, in whose units errors are logged.
    """

    labels: Mapping[str, Sequence[float]]
    counts: Mapping[str, Tensor]
    chances: bool = True
    spread: float = 1.0

    def weight(self, group: Group) -> float:
        """Its labelled steps: the loss is a mean over the batch's steps, as in TRL."""
        return len(self.labels[group.key])

    def loss(self, values_SK: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row's steps, each the mean over heads."""
        per_group = [len(self.labels[group.key]) for group in row.groups]
        flat = [[label] for group in row.groups for label in self.labels[group.key]]
        labels_S1 = values_SK.new_tensor(flat)
        losses_SK = (step_loss if self.chances else regression_loss)(values_SK, labels_S1)
        self._log(values_SK.detach().mean(1), labels_S1[:, 0], tally)
        counts_GK = counts_of(row, self.counts, values_SK)
        counts_SK = counts_GK.repeat_interleave(counts_GK.new_tensor(per_group).long(), dim=0)
        return (losses_SK * counts_SK).mean(1).sum()

    def _log(self, values_S: Tensor, labels_S: Tensor, tally: Tally) -> None:
        if not self.chances:
            tally.add("mean_error", self.spread * (values_S - labels_S).abs().sum(), len(values_S))
            return
        right_S = (values_S > 0) == (labels_S > 0.5)
        tally.add("accuracy", right_S.float().sum(), len(right_S))
        # Most steps of most data are right: this tells a model that says so of all.
        wrong_S = labels_S <= 0.5
        if wrong_S.any():
            tally.add("wrong_found", right_S[wrong_S].float().sum(), int(wrong_S.sum()))


def train_reward_process(model: str, rows: Sequence[Stepwise], settings: ProcessSettings, folder: Path) -> Trained:
    """Train heads and body of `model` to tell the steps' labels; the result is `folder/model`.

    Raises UserError when no row can be used, labels are not what `labels` says, or all of them are equal.
    """
    chances = _are_chances(rows, settings)
    policy, head = reward_policy(model, settings.lora, settings.seed, "process", settings.heads, bias=True)
    form = StepForm(settings.separator, settings.whole, chances)
    _check_form(head, form, model)
    groups, labels, dropped = step_groups(
        rows, policy.format, settings.max_tokens, settings.separator, last_only=settings.last_step_only
    )
    need_rows(groups, rows, dropped, "Process reward model")
    used = list(chain.from_iterable(labels.values()))
    if len(set(used)) == 1:
        raise UserError(
            f"Process reward model: every step that is read has the label {used[0]:g}; that leaves nothing to learn."
        )
    if not chances and head.steps is None:
        head.scale, head.shift = statistics.pstdev(used), statistics.fmean(used)
    head.steps = form
    if not chances:
        labels = {key: tuple((label - head.shift) / head.scale for label in own) for key, own in labels.items()}
    counts = bootstrap_counts([group.key for group in groups], settings.heads, settings.seed)
    objective = ProcessObjective(labels, counts, chances, head.scale)
    return train_heads(
        policy, head, objective, groups, settings, folder, title="process reward model", labels=labels, dropped=dropped
    )


def _are_chances(rows: Sequence[Stepwise], settings: ProcessSettings) -> bool:
    """Whether labels are learned as chances. Raises UserError when they cannot be what the settings say they are."""
    if settings.labels == "numbers":
        return False
    strange = next(((row, label) for row in rows for label in row.labels if not 0 <= label <= 1), None)
    if settings.labels == "chances" and strange is not None:
        raise UserError(
            f"Process reward model: row {strange[0].id} has the label {strange[1]:g}, which is no chance in [0, 1]. "
            "Change it, or set `labels: numbers`."
        )
    chances = settings.labels == "chances" or all(label in (0, 1) for row in rows for label in row.labels)
    if not chances and settings.whole == "product":
        raise UserError(
            "Process reward model: `whole: product` is of chances, and the labels are numbers other than 0 and 1. "
            "Take min, mean or last; or set `labels: chances` if they are chances."
        )
    return chances


def _check_form(head: RewardHead, form: StepForm, model: str) -> None:
    had = head.steps
    if had is not None and (had.separator, had.chances) != (form.separator, form.chances):
        what = "chances" if had.chances else "numbers"
        raise UserError(
            f'"{model}" reads steps that end with {had.separator!r}, and gives {what}; these settings and labels ask '
            "for another. Start from its base model, or go on as it was trained."
        )


METHOD = Method(ProcessSettings, train_reward_process)
