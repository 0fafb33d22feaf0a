"""Where the groups of each step come from: a fixed list in its drawn order, or samples made at the step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from charter.training.layout import Group
from charter.training.settings import TrainSettings

if TYPE_CHECKING:
    from charter.training.objective import Objective, RowObjective

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """What one optimiser step trains on, and by which objective.

    An objective that needs more of a group than its tokens (rewards, reference log-probs, the log-probs it was sampled
    with) holds that by the group's key. Without groups there is nothing to train on, and the weights stay.
    values: what is logged of how the batch was made.
    """

    groups: Sequence[Group]
    objective: Objective | RowObjective
    values: Mapping[str, float] = field(default_factory=dict)


class Source(Protocol):
    """What a run trains on."""

    @property
    def rows(self) -> int:
        """Rows (prompts) of an epoch: how many steps there are follows from it."""
        ...

    def digest(self) -> str:
        """What must not change between a checkpoint and its resume."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0. A run asks for its steps in order; a resumed one begins with the first that
        is not done, and must get what an uninterrupted run would have got.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What else than the weights later batches depend on, for a checkpoint; without dimensions, or whole."""
        ...

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        ...


class Stateless:
    """A source whose batches depend on the weights and on the step alone."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class FixedSource(Stateless):
    """Groups that are there before training, under one objective."""

    groups: Sequence[Group]
    objective: Objective | RowObjective
    settings: TrainSettings

    @property
    def rows(self) -> int:
        """How many groups there are."""
        return len(self.groups)

    def digest(self) -> str:
        """sha256 of the groups and of how much each counts."""
        digest = hashlib.sha256()
        for group in self.groups:
            content = group.key, group.prompt, group.completions, group.turns, self.objective.weight(group)
            digest.update(repr(content).encode())
        return digest.hexdigest()

    def batch(self, step: int) -> Batch:
        """The groups whose turn it is."""
        return Batch(in_turn(self.groups, self.settings, step), self.objective)


def steps_per_epoch(rows: int, settings: TrainSettings) -> int:
    """Batches of an epoch; the last may be smaller. Of each there are `settings.updates` optimiser steps."""
    return math.ceil(rows / settings.batch_size)


def in_turn(rows: Sequence[T], settings: TrainSettings, step: int) -> list[T]:
    """The rows of the batch `step`: each epoch in an order of its own, drawn from the seed."""
    epoch, place = divmod(step, steps_per_epoch(len(rows), settings))
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(rows), generator=generator).tolist()
    start = place * settings.batch_size
    return [rows[i] for i in order[start : start + settings.batch_size]]


def batches(groups: Sequence[Group], settings: TrainSettings) -> Iterator[list[Group]]:
    """Every batch of a run in its order, as `train` takes them."""
    for step in range(steps_per_epoch(len(groups), settings) * settings.epochs):
        yield in_turn(groups, settings, step)
