"""What a method minimises, and what it logs meanwhile: the side of a method that the training loop sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs


@dataclass
class Tally:
    """Sums, counts and peaks of logged quantities over the rows of a step."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, total: Tensor | float, count: float) -> None:
        """Add a sum over `count` items."""
        self.sums[name] = self.sums.get(name, 0.0) + float(total)
        self.counts[name] = self.counts.get(name, 0.0) + count

    def peak(self, name: str, value: Tensor | float) -> None:
        """Keep the largest value of a quantity; its name is no mean's."""
        self.peaks[name] = max(self.peaks.get(name, -math.inf), float(value))

    def join(self, other: Tally) -> None:
        """Add all that another tally holds."""
        for name, total in other.sums.items():
            self.add(name, total, other.counts[name])
        for name, value in other.peaks.items():
            self.peak(name, value)

    def means(self) -> dict[str, float]:
        """Mean of every quantity."""
        return {name: total / max(self.counts[name], 1e-12) for name, total in self.sums.items()}


class Objective(Protocol):
    """What a method minimises."""

    def weight(self, group: Group) -> float:
        """How much a group counts in the batch mean. The loss of a step is sum of losses / sum of weights."""
        ...

    def loss(self, values: Tensor, row: Row, tally: Tally, /) -> Tensor:
        """The summed (not averaged) loss of a row, from what the forward gives: its completions' log-probs (N,), or
        their rewards (C, heads). Logs into `tally`.
        """
        ...


@runtime_checkable
class RowObjective(Protocol):
    """An objective that needs more of a row than its log-probs, such as a comparison of whole distributions."""

    def weight(self, group: Group) -> float:
        """As in `Objective`."""
        ...

    def row_loss(self, logprobs: CompletionLogprobs, row: Row, tally: Tally) -> Tensor:
        """The summed loss of a row, which it runs through the model itself; logs into `tally`."""
        ...

    def idle(self, logprobs: CompletionLogprobs, row: Row) -> Tensor:
        """Zero, from as many forwards as `row_loss` makes of a row: other processes run theirs meanwhile, and a
        sharded model's forward takes all of them. The row belongs to no group."""
        ...


LogprobSums = Callable[[Sequence[Group]], dict[str, Tensor]]
"""Groups → per key, summed log-probs (k,) under the policy as it is, without dropout or gradient."""


@runtime_checkable
class BatchObjective(Objective, Protocol):
    """An objective that needs a number of the whole batch before any of its rows, such as KTO's KL."""

    def for_batch(self, batch: Sequence[Group], logprob_sums: LogprobSums) -> Objective:
        """The objective of this batch; called once a step, before the batch is split into rows."""
        ...
